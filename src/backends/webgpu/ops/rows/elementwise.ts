import type { Tensor } from '../../../../tensor/tensor.ts';
import type { MlpActivation } from '../../../contract/activations.ts';
import type { GpuTensor } from '../../device/gpu-tensor.ts';
import { elementGrid, type Lowering, place } from '../../graph/lowering.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { ShaderArguments } from '../../shaders/shaders.generated.ts';
import type { Calls } from '../calls.ts';

/** out of x and y, element by element. */
interface Elements {
  readonly x: GpuTensor;
  readonly y: GpuTensor;
  readonly out: GpuTensor;
}

/** out = x + y */
export const ADD = defineOperation<Elements>({
  name: 'add',
  rowOperands: ['x', 'y', 'out'],
  lower: (lowering, operands) => dispatchElements(lowering, 'add', operands),
});

/** out = x * silu(y) */
export const SILU_GATE = defineOperation<Elements>({
  name: 'siluGate',
  rowOperands: ['x', 'y', 'out'],
  lower: (lowering, operands) => dispatchElements(lowering, 'activateAndMul', { ...operands, activation: 'silu' }),
});

/** out = x * y with a vector y for all rows */
const MUL_COLUMNS = defineOperation<Elements>({
  name: 'mulColumns',
  rowOperands: ['x', 'out'],
  lower: (lowering, operands) => dispatchElements(lowering, 'mulColumns', operands),
});

const MUL_SCALAR = defineOperation<{ readonly x: GpuTensor; readonly factor: number; readonly out: GpuTensor }>({
  name: 'mulScalar',
  rowOperands: ['x', 'out'],
  lower: (lowering, operands) => dispatchElements(lowering, 'mulScalar', operands),
});

/** out = activation(x), or activation(gate) * x */
const ACTIVATE = defineOperation<{
  readonly gate: GpuTensor | undefined;
  readonly x: GpuTensor;
  readonly activation: MlpActivation;
  readonly out: GpuTensor;
}>({
  name: 'activate',
  rowOperands: ['gate', 'x', 'out'],
  lower: (lowering, { gate, ...operands }) =>
    dispatchElements(lowering, gate ? 'activateAndMul' : 'activate', { ...operands, y: gate }),
});

function dispatchElements(
  lowering: Lowering,
  OPERATION: ShaderArguments['elementwise']['constants']['OPERATION'],
  {
    x,
    y,
    out,
    factor = 0,
    activation = 'identity',
  }: {
    readonly x: GpuTensor;
    readonly y?: GpuTensor | undefined;
    readonly out: GpuTensor;
    readonly factor?: number;
    readonly activation?: MlpActivation;
  },
): void {
  const [T, C] = out.shape;
  lowering.dispatch('elementwise', {
    constants: { OPERATION, ACTIVATION: activation },
    bindings: { x: x.storage, y: y?.storage ?? lowering.nothing, out: out.storage },
    params: { T, C, factor, ...place('x', x), ...place('y', y), ...place('out', out) },
    workgroups: elementGrid(C, T),
  });
}

export function add(calls: Calls, x: Tensor, y: Tensor): GpuTensor {
  const input = calls.floats(x, 'x', [null, null]);
  return calls.make(ADD, x.shape, { x: input, y: calls.floats(y, 'y', x.shape) });
}

export function siluGate(calls: Calls, x: Tensor, z: Tensor): GpuTensor {
  const input = calls.floats(x, 'x', [null, null]);
  return calls.make(SILU_GATE, x.shape, { x: input, y: calls.floats(z, 'z', x.shape) });
}

export function mulColumns(calls: Calls, x: Tensor, v: Tensor): GpuTensor {
  const input = calls.floats(x, 'x', [null, null]);
  return calls.make(MUL_COLUMNS, x.shape, { x: input, y: calls.floats(v, 'v', [x.shape[1]]) });
}

export function mulScalar(calls: Calls, x: Tensor, factor: number): GpuTensor {
  return calls.make(MUL_SCALAR, x.shape, { x: calls.floats(x, 'x', [null, null]), factor });
}

export function activate(calls: Calls, x: Tensor, activation: MlpActivation): GpuTensor {
  return calls.make(ACTIVATE, x.shape, { gate: undefined, x: calls.floats(x, 'x', [null, null]), activation });
}

export function activateAndMul(calls: Calls, gate: Tensor, x: Tensor, activation: MlpActivation): GpuTensor {
  const input = calls.floats(x, 'x', [null, null]);
  return calls.make(ACTIVATE, x.shape, { gate: calls.floats(gate, 'gate', x.shape), x: input, activation });
}
