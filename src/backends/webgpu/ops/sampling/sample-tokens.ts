import { ShapeError } from '../../../../errors.ts';
import type { Tensor } from '../../../../tensor/tensor.ts';
import { EDIT_FIELDS, ROW_FIELDS, type SamplingTensors } from '../../../contract/sampling.ts';
import type { GpuIndices, GpuTensor } from '../../device/gpu-tensor.ts';
import { place, rowGrid } from '../../graph/lowering.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Calls } from '../calls.ts';

/** Tokens that a workgroup of sample-spans sums up, and numbers that it leaves. */
const SPAN = 2048;
const SPAN_FIELDS = 8;

/** Chooses a token for each row of logits, which are changed in place. */
const SAMPLE_TOKENS = defineOperation<{
  readonly logits: GpuTensor;
  readonly rows: GpuIndices;
  readonly edits: GpuIndices;
  readonly sampled: GpuTensor;
  readonly out: GpuTensor;
}>({
  name: 'sampleTokens',
  lower: (lowering, { logits, rows, edits, sampled, out }) => {
    const [T, V] = logits.shape;
    const numSpans = Math.ceil(V / SPAN);
    const shared = {
      rows: rows.storage,
      edits: edits.storage,
      originals: lowering.scratch([edits.data.length / EDIT_FIELDS]).storage,
      spans: lowering.scratch([T * numSpans, SPAN_FIELDS]).storage,
    };
    for (const { firstRow, tensor } of logits.parts) {
      const B = tensor.shape[0];
      const bindings = { ...shared, logits: tensor.storage };
      const params = { B, V, firstRow, ...place('logits', tensor) };
      lowering.dispatch('sample-spans', { bindings, params, workgroups: rowGrid(numSpans, B) });
      lowering.dispatch('sample-tokens', {
        bindings: { ...bindings, out: out.storage, sampled: sampled.storage },
        params: { ...params, ...place('out', out) },
        workgroups: rowGrid(1, B),
      });
    }
  },
});

export function sampleTokens(
  calls: Calls,
  logits: Tensor,
  { rows, edits }: SamplingTensors,
  sampled: Tensor,
): GpuTensor {
  const scores = calls.floats(logits, 'logits', [null, null]);
  const [B] = scores.shape;
  const table = calls.indices(rows, 'rows', B * ROW_FIELDS);
  const edited = calls.indices(edits, 'edits', null);
  if (edited.data.length === 0 || edited.data.length % EDIT_FIELDS !== 0) {
    throw new ShapeError(`edits has ${edited.data.length} values.`, 'Pass what samplingInputs gives.');
  }
  const kept = calls.floats(sampled, 'sampled', [null]);
  return calls.make(SAMPLE_TOKENS, [B, 2], { logits: scores, rows: table, edits: edited, sampled: kept });
}
