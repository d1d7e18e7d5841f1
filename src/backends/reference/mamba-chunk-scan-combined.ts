import { ArgumentError } from '../../errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { contiguous, floats, HostTensor, hostIndices, hostZeros } from '../contract/host-tensor.ts';
import { checkQueryStartLoc } from '../contract/sequences.ts';
import type { SelectiveStateArgs } from '../contract/state-space.ts';
import { mambaChunkScan } from './state-space.ts';

/** Arguments of {@link mambaChunkScanCombined}. */
export interface ChunkScanCombinedArgs extends SelectiveStateArgs {
  /** (T, H, P): the packed sequences' tokens. */
  readonly x: Tensor;
  /** (T, G, N) */
  readonly B: Tensor;
  /** At least 1. It does not change the result. */
  readonly chunkSize: number;
  /** (sequences + 1) int32, from 0 to T. Default: one sequence. */
  readonly cuSeqlens?: Tensor | undefined;
  /** (sequences, H, P, N). Default: zeros. */
  readonly initialStates?: Tensor | undefined;
}

/**
 * {@link StateSpaceOps.mambaChunkScan} as a function of its inputs: states come as `initialStates` and go out as
 * `finalStates` (sequences, H, P, N) instead of living in a cache. An empty sequence keeps its initial state.
 *
 * @example
 * ```ts
 * // Three tokens, one head of two columns, a state of two.
 * const { out, finalStates } = mambaChunkScanCombined({
 *   x: hostTensor([1, 2, 3, 4, 5, 6], [3, 1, 2]),
 *   dt: hostTensor([0.1, 0.2, 0.3], [3, 1]),
 *   A: hostTensor([-1], [1]),
 *   B: hostTensor([1, 0, 0, 1, 1, 1], [3, 1, 2]),
 *   C: hostTensor([1, 1, 1, 1, 1, 1], [3, 1, 2]),
 *   chunkSize: 256,
 * }); // (3, 1, 2) and (1, 1, 2, 2)
 * ```
 */
export function mambaChunkScanCombined(args: ChunkScanCombinedArgs): { out: HostTensor; finalStates: HostTensor } {
  const { x, B, cuSeqlens, initialStates, ...rest } = args;
  if (x.shape.length !== 3 || B.shape.length !== 3) {
    throw new ArgumentError(
      `x has ${x.shape.length} dimensions and B ${B.shape.length}.`,
      'Pass (T, H, P) and (T, G, N).',
    );
  }
  const [T, H, P] = x.shape;
  const queryStartLoc = cuSeqlens ?? hostIndices([0, T]);
  const sequences = checkQueryStartLoc(queryStartLoc, T).length - 1;
  const shape = [sequences, H, P, B.shape[2]];
  const finalStates = initialStates
    ? new HostTensor(contiguous(floats(initialStates, 'initialStates', shape)), shape)
    : hostZeros(shape);
  const out = mambaChunkScan({
    ...rest,
    x,
    B,
    queryStartLoc,
    ssmStates: finalStates,
    hasInitialState: hostIndices(new Int32Array(sequences).fill(1)),
  });
  return { out, finalStates };
}
