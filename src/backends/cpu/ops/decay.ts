import type { Tensor } from '../../../tensor/tensor.ts';
import { checkQueryStartLoc } from '../../contract/sequences.ts';
import type { LogDecayArgs } from '../../contract/state-space.ts';
import { indexAddress } from '../memory/cpu-indices.ts';
import type { CpuRuntime } from '../memory/cpu-runtime.ts';
import { cpuFloats, outputFor, vectorAddress, zeroVector } from '../memory/cpu-tensor.ts';

/** See {@link StateSpaceOps.logDecaySums}. */
export function logDecaySums(runtime: CpuRuntime, args: LogDecayArgs): Tensor {
  const { memory, kernels } = runtime;
  const dt = cpuFloats(memory, args.dt, 'dt', [null, null]);
  const [rows, H] = dt.shape;
  const sequences = args.queryStartLoc ? checkQueryStartLoc(args.queryStartLoc, rows).length - 1 : rows;
  const [low, high] = args.dtLimit ?? [0, Number.POSITIVE_INFINITY];
  const { out, finish } = outputFor(runtime, args.out, [sequences, H]);
  memory.scope(() => {
    const A = vectorAddress(runtime, args.A, 'A', H);
    const dtBias = args.dtBias ? vectorAddress(runtime, args.dtBias, 'dtBias', H) : zeroVector(runtime, H);
    const starts = args.queryStartLoc ? indexAddress(memory, args.queryStartLoc, 'queryStartLoc', sequences + 1) : 0;
    const softplus = args.dtSoftplus ? 1 : 0;
    // biome-ignore format: addresses with their strides, as the kernel takes them
    kernels.logDecaySums(
      dt.address, dt.byteStride, A, dtBias, starts, sequences, out.address, out.byteStride, H, softplus, low, high,
    );
  });
  return finish();
}
