import { ShapeError } from '../../../errors.ts';
import type { Tensor } from '../../../tensor/tensor.ts';
import { EDIT_FIELDS, ROW_FIELDS, type SamplingOps, type SamplingTensors } from '../../contract/sampling.ts';
import { GpuIndices, type GpuTensor, gpuFloats, gpuIndices } from '../device/gpu-tensor.ts';
import type { GpuArrays } from '../graph/arrays.ts';
import type { PendingWork } from '../graph/pending-work.ts';

/** The operations that choose tokens: checks calls and enqueues them. */
export class SamplingCalls implements SamplingOps {
  readonly #owner: object;
  readonly #work: PendingWork;
  readonly #arrays: GpuArrays;

  constructor(owner: object, work: PendingWork, arrays: GpuArrays) {
    this.#owner = owner;
    this.#work = work;
    this.#arrays = arrays;
  }

  sampleTokens(logits: Tensor, { rows, edits }: SamplingTensors, sampled: Tensor): GpuTensor {
    const scores = gpuFloats(this.#owner, logits, 'logits', [null, null]);
    const [B] = scores.shape;
    const table = gpuIndices(this.#owner, rows, 'rows', B * ROW_FIELDS);
    const edited = gpuIndices(this.#owner, edits, 'edits', null);
    if (edited.data.length === 0 || edited.data.length % EDIT_FIELDS !== 0) {
      throw new ShapeError(`edits has ${edited.data.length} values.`, 'Pass what samplingInputs gives.');
    }
    const kept = gpuFloats(this.#owner, sampled, 'sampled', [null]);
    const out = this.#arrays.make([B, 2]);
    if (B > 0)
      this.#work.enqueue({ type: 'sampleTokens', logits: scores, rows: table, edits: edited, sampled: kept, out });
    return out;
  }

  takeSampled(tokenIds: Tensor, slots: Tensor, sampled: Tensor): { tokenIds: GpuIndices; slots: GpuIndices } {
    const ids = gpuIndices(this.#owner, tokenIds, 'tokenIds', null);
    const places = gpuIndices(this.#owner, slots, 'slots', ids.data.length);
    const kept = gpuFloats(this.#owner, sampled, 'sampled', [null]);
    const out = { tokenIds: this.#like(ids), slots: this.#like(places) };
    this.#work.enqueue({ type: 'takeSampled', tokenIds: ids, slots: places, sampled: kept, out });
    return out;
  }

  /** Indices that the device computes: the host knows those that they are made of. */
  #like({ data, shape }: GpuIndices): GpuIndices {
    return new GpuIndices(this.#work.storage(data.byteLength), data, shape);
  }
}
