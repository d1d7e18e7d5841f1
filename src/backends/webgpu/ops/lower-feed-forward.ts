import { MLP_ACTIVATIONS } from '../../contract/activations.ts';
import { elementGrid, type Lowering, place, rowGrid } from '../graph/lowering.ts';
import type { ActivateOperation, TopKRoutingOperation } from '../graph/operation.ts';

export function lowerActivate(lowering: Lowering, { gate, x, activation, out }: ActivateOperation): void {
  const [T, C] = out.shape;
  const chosen = MLP_ACTIVATIONS.map((name) => [`IS_${name}`, name === activation] as const);
  lowering.dispatch(
    'activate',
    { ...Object.fromEntries(chosen), ACTIVATION: activation, HAS_GATE: gate !== undefined },
    {
      bindings: { x: x.storage, out: out.storage, ...(gate && { gate: gate.storage }) },
      params: { T, C, ...place('gate', gate), ...place('x', x), ...place('out', out) },
      workgroups: elementGrid(C, T),
    },
  );
}

export function lowerTopKRouting(lowering: Lowering, { logits, options, bias, out }: TopKRoutingOperation): void {
  const [T, E] = logits.shape;
  const { topK, scoring, numGroups = 1, topKGroups = numGroups, renormalize, scale = 1 } = options;
  lowering.dispatch(
    'top-k-routing',
    { E, GROUPS: numGroups, SIGMOID: scoring === 'sigmoid' },
    {
      bindings: { logits: logits.storage, bias: bias?.storage ?? lowering.nothing, out: out.storage },
      params: {
        ...{ T, topK, topKGroups, renormalize: renormalize ? 1 : 0, scale, hasBias: bias ? 1 : 0 },
        ...place('logits', logits),
        ...place('bias', bias),
        ...place('out', out),
      },
      workgroups: rowGrid(1, T),
    },
  );
}
