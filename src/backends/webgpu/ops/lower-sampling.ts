import { EDIT_FIELDS } from '../../contract/sampling.ts';
import { type Lowering, place, rowGrid, WORKGROUP } from '../graph/lowering.ts';
import type { SampleTokensOperation, TakeSampledOperation } from '../graph/operation.ts';

/** Tokens that a workgroup of sample-chunks sums up, and numbers that it leaves. */
const CHUNK = 2048;
const CHUNK_FIELDS = 8;

export function lowerSampleTokens(
  lowering: Lowering,
  { logits, rows, edits, sampled, out }: SampleTokensOperation,
): void {
  const [B, V] = logits.shape;
  const numChunks = Math.ceil(V / CHUNK);
  const chunks = lowering.scratch([B * numChunks, CHUNK_FIELDS]);
  const originals = lowering.scratch([edits.data.length / EDIT_FIELDS]);
  const bindings = {
    rows: rows.storage,
    edits: edits.storage,
    originals: originals.storage,
    chunks: chunks.storage,
    out: out.storage,
    sampled: sampled.storage,
  };
  for (const { firstRow, tensor } of logits.parts) {
    const params = { B: tensor.shape[0], V, firstRow, ...place('logits', tensor), ...place('out', out) };
    const of = { bindings: { ...bindings, logits: tensor.storage }, params };
    lowering.dispatch('sample-chunks', {}, { ...of, workgroups: rowGrid(numChunks, params.B) });
    lowering.dispatch('sample-tokens', {}, { ...of, workgroups: rowGrid(1, params.B) });
  }
}

export function lowerTakeSampled(lowering: Lowering, { tokenIds, slots, sampled, out }: TakeSampledOperation): void {
  const B = tokenIds.data.length;
  lowering.dispatch(
    'take-sampled',
    {},
    {
      bindings: {
        tokenIds: tokenIds.storage,
        slots: slots.storage,
        sampled: sampled.storage,
        outTokenIds: out.tokenIds.storage,
        outSlots: out.slots.storage,
      },
      params: { B },
      workgroups: [Math.ceil(B / WORKGROUP), 1, 1],
    },
  );
}
