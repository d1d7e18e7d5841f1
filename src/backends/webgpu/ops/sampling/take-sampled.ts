import type { Tensor } from '../../../../tensor/tensor.ts';
import { GpuIndices, type GpuTensor } from '../../device/gpu-tensor.ts';
import { WORKGROUP } from '../../graph/lowering.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Calls } from '../calls.ts';

const TAKE_SAMPLED = defineOperation<{
  readonly tokenIds: GpuIndices;
  readonly slots: GpuIndices;
  readonly sampled: GpuTensor;
  readonly out: { readonly tokenIds: GpuIndices; readonly slots: GpuIndices };
}>({
  name: 'takeSampled',
  lower: (lowering, { tokenIds, slots, sampled, out }) => {
    const B = tokenIds.data.length;
    lowering.dispatch('take-sampled', {
      bindings: {
        tokenIds: tokenIds.storage,
        slots: slots.storage,
        sampled: sampled.storage,
        outTokenIds: out.tokenIds.storage,
        outSlots: out.slots.storage,
      },
      params: { B },
      workgroups: [Math.ceil(B / WORKGROUP), 1, 1],
    });
  },
});

export function takeSampled(
  calls: Calls,
  tokenIds: Tensor,
  slots: Tensor,
  sampled: Tensor,
): { tokenIds: GpuIndices; slots: GpuIndices } {
  const ids = calls.indices(tokenIds, 'tokenIds', null);
  const places = calls.indices(slots, 'slots', ids.data.length);
  const kept = calls.floats(sampled, 'sampled', [null]);
  // The device computes these values; the host knows only those that they are made of.
  const like = ({ data, shape }: GpuIndices) => new GpuIndices(calls.work.storage(data.byteLength), data, shape);
  const out = { tokenIds: like(ids), slots: like(places) };
  calls.enqueue(TAKE_SAMPLED, { tokenIds: ids, slots: places, sampled: kept, out });
  return out;
}
