import type { GpuDevice } from '../device/gpu-device.ts';
import { GpuTensor, rowStride, Storage } from '../device/gpu-tensor.ts';
import type { GpuKernels, ShaderName } from '../device/kernel.ts';
import { launchParametersFor } from '../launch/choose-launch.ts';
import type { LaunchParameters } from '../launch/launch-parameters.ts';
import type { ShaderArguments } from '../shaders/shaders.generated.ts';
import type { Command, Dispatch } from './command.ts';
import type { Handover } from './handover.ts';

/** Invocations in the first dimension of a workgroup, where a shader's header says nothing else. */
export const WORKGROUP = 64;
/** Invocations that share a row's sum, in the kernels of plain norms. */
export const ROW_THREADS = 64;
/** Workgroups in one dimension of a grid, on every device: see grid.wgsl. */
export const MAX_GROUPS = 65535;

/** A number for each of these names. */
export type Numbers<Name extends string> = Readonly<Record<Name, number>>;

/** Arguments of a dispatch: a value for everything that the shader's text declares for any constants. */
export type Run<Name extends ShaderName> = {
  readonly bindings: Readonly<Record<ShaderArguments[Name]['bindings'], Storage>>;
  readonly workgroups: Dispatch['workgroups'];
} & Given<'constants', ShaderArguments[Name]['constants']> &
  /** Numbers that are written when the commands run. */
  Given<'params', Numbers<ShaderArguments[Name]['params']>> &
  /** Numbers that the kernel is compiled for. */
  Given<'fixed', Numbers<ShaderArguments[Name]['fixed']>>;

/** A member that is absent where the shader declares nothing of its kind. */
type Given<Key extends string, Value> = keyof Value extends never
  ? { readonly [Absent in Key]?: never }
  : { readonly [Present in Key]: Value };

/** A {@link Run} of any shader. */
interface AnyRun extends Pick<Dispatch, 'bindings' | 'workgroups'>, Partial<Pick<Dispatch, 'params'>> {
  readonly constants?: ShaderArguments[ShaderName]['constants'];
  readonly fixed?: Readonly<Record<string, number>>;
}

/** Context in which operations become commands: facts about the device, and the commands so far. */
export class Lowering {
  readonly gpu: GpuDevice;
  readonly owner: object;
  readonly commands: Command[] = [];
  readonly launch: LaunchParameters;
  /** Whether products may run on subgroup matrices. */
  readonly usesMatrices: boolean;
  /** Whether the model's weights are float32: then activations are not rounded to less. */
  readonly isExact: boolean;
  readonly handover: Handover;
  /** Storage that is bound in place of an absent operand. */
  readonly nothing: Storage;
  readonly #kernels: GpuKernels;

  constructor(
    owner: object,
    gpu: GpuDevice,
    kernels: GpuKernels,
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

  /** Adds a run of a shader. */
  dispatch<Name extends ShaderName>(shader: Name, run: Run<Name>): void {
    const { constants = {}, fixed = {}, params = {}, bindings, workgroups }: AnyRun = run;
    const kernel = this.#kernels.get(shader, constants, fixed);
    this.commands.push({ type: 'dispatch', kernel, bindings, params, workgroups });
  }

  /** A tensor that one command writes for the next. */
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
): Numbers<`${Name}Offset` | `${Name}Stride`> {
  const places = { [`${name}Offset`]: x?.offset ?? 0, [`${name}Stride`]: x?.stride ?? 0 };
  return places as Numbers<`${Name}Offset` | `${Name}Stride`>;
}
