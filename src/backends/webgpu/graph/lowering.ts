import type { GpuDevice } from '../device/gpu-device.ts';
import { GpuTensor, rowStride, Storage } from '../device/gpu-tensor.ts';
import type { Kernels, ShaderName } from '../device/kernel.ts';
import type { ShaderConstants } from '../device/shader-template.ts';
import { launchParametersFor } from '../launch/choose-launch.ts';
import type { LaunchParameters } from '../launch/launch-parameters.ts';
import type { Command, Dispatch } from './command.ts';
import type { Handover } from './handover.ts';

/** Invocations in the first dimension of a workgroup, where a shader's header says nothing else. */
export const WORKGROUP = 64;
/** Workgroups in one dimension of a grid, on every device: see grid.wgsl. */
export const MAX_GROUPS = 65535;

/** What a kernel runs on. */
interface Run extends Pick<Dispatch, 'bindings' | 'workgroups'>, Partial<Pick<Dispatch, 'params'>> {
  /** By the names in the shader's `Fixed`, if it has any. */
  readonly fixed?: Readonly<Record<string, number>>;
}

/** Where operations become commands. */
export class Lowering {
  readonly gpu: GpuDevice;
  readonly owner: object;
  readonly commands: Command[] = [];
  readonly launch: LaunchParameters;
  /** Whether products may run on subgroup matrices. */
  readonly usesMatrices: boolean;
  /** Whether weights are float32: then activations are not rounded to less. */
  readonly isExact: boolean;
  readonly handover: Handover;
  /** Bound where an operand is absent. */
  readonly nothing: Storage;
  readonly #kernels: Kernels;

  constructor(
    owner: object,
    gpu: GpuDevice,
    kernels: Kernels,
    nothing: Storage,
    { isExact, handover }: { isExact: boolean; handover: Handover },
  ) {
    this.owner = owner;
    this.gpu = gpu;
    this.nothing = nothing;
    this.#kernels = kernels;
    this.isExact = isExact;
    this.handover = handover;
    this.launch = launchParametersFor(gpu.info);
    this.usesMatrices = gpu.hasMatrices;
  }

  /** Runs a shader, made for these constants and fixed numbers: see {@link Kernels.get}. */
  dispatch(shader: ShaderName, constants: ShaderConstants, { bindings, params = {}, fixed, workgroups }: Run): void {
    const kernel = this.#kernels.get(shader, constants, fixed);
    this.commands.push({ type: 'dispatch', kernel, bindings, params, workgroups });
  }

  /** A tensor for what one command leaves to the next. */
  scratch(shape: readonly number[]): GpuTensor {
    const stride = rowStride(shape);
    return new GpuTensor(new Storage(this.owner, 4 * (shape[0] ?? 1) * stride), shape, 0, stride);
  }
}

/** Memory for T rows of float16 in tiles: see float16-tiles.wgsl. */
export function float16Rows({ owner }: Lowering, T: number, columns: number): Storage {
  return new Storage(owner, 2 * 16 * Math.ceil(T / 16) * columns);
}

/** A grid of one invocation per column and row. */
export function elementGrid(columns: number, rows: number): [number, number, number] {
  return rowGrid(Math.ceil(columns / WORKGROUP), rows);
}

/** A grid of some workgroups per row: see grid.wgsl. */
export function rowGrid(perRow: number, rows: number): [number, number, number] {
  return [perRow, Math.min(rows, MAX_GROUPS), Math.ceil(rows / MAX_GROUPS)];
}

/** `xOffset` and `xStride` for a tensor `x`; zeros where it is absent. */
export function place<Name extends string>(
  name: Name,
  x: GpuTensor | undefined,
): Record<`${Name}Offset` | `${Name}Stride`, number> {
  const places = { [`${name}Offset`]: x?.offset ?? 0, [`${name}Stride`]: x?.stride ?? 0 };
  return places as Record<`${Name}Offset` | `${Name}Stride`, number>;
}
