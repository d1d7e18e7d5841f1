import { ShapeError } from '../../../errors.ts';
import type { Tensor } from '../../../tensor/tensor.ts';
import { EDIT_FIELDS, ROW_FIELDS, type SamplingTensors } from '../../contract/sampling.ts';
import type { CudaCalls } from '../device/cuda-calls.ts';
import { CudaIndices, type CudaTensor } from '../device/cuda-tensor.ts';

/** Tokens that a block of sample_spans sums up, and numbers that it leaves. */
const SPAN = 2048;
const SPAN_FIELDS = 8;

/** Chooses a token for each row of logits, which are changed in place. */
export function sampleTokens(
  calls: CudaCalls,
  logits: Tensor,
  { rows, edits }: SamplingTensors,
  sampled: Tensor,
): CudaTensor {
  const scores = calls.floats(logits, 'logits', [null, null]);
  const [B, V] = scores.shape;
  const table = calls.indices(rows, 'rows', B * ROW_FIELDS);
  const edited = calls.indices(edits, 'edits', null);
  if (edited.data.length === 0 || edited.data.length % EDIT_FIELDS !== 0) {
    throw new ShapeError(`edits has ${edited.data.length} values.`, 'Pass what samplingInputs gives.');
  }
  const kept = calls.floats(sampled, 'sampled', [null]);
  const out = calls.make([B, 2]);
  const numSpans = Math.ceil(V / SPAN);
  const parameters = {
    ...{ logits: scores, sampled: kept, out, rows: table.address, edits: edited.address, V, numSpans },
    originals: calls.memory.allocate(4 * (edited.data.length / EDIT_FIELDS)),
    spans: calls.memory.allocate(4 * B * numSpans * SPAN_FIELDS),
  };
  calls.device.launch('sample_spans', { blocks: [numSpans, B], threads: 256 }, parameters);
  calls.device.launch('sample_tokens', { blocks: [B], threads: 1024 }, parameters);
  return out;
}

export function takeSampled(
  calls: CudaCalls,
  tokenIds: Tensor,
  slots: Tensor,
  sampled: Tensor,
): { tokenIds: CudaIndices; slots: CudaIndices } {
  const ids = calls.indices(tokenIds, 'tokenIds', null);
  const B = ids.data.length;
  const places = calls.indices(slots, 'slots', B);
  const kept = calls.floats(sampled, 'sampled', [null]);
  // The device computes these values; the host knows only those that they are made of.
  const like = ({ data, shape }: CudaIndices) => {
    return new CudaIndices(calls.owner, calls.memory.allocate(data.byteLength), data, shape);
  };
  const out = { tokenIds: like(ids), slots: like(places) };
  calls.device.launch(
    'take_sampled',
    { blocks: [Math.ceil(B / 256)], threads: 256 },
    {
      ...{ tokenIds: ids.address, slots: places.address, sampled: kept, B },
      ...{ outTokenIds: out.tokenIds.address, outSlots: out.slots.address },
    },
  );
  return out;
}
