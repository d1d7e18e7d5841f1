import type { ProcessGroup } from '../../../distributed/process-group.ts';
import { ShardingError } from '../../../errors.ts';
import type { Tensor } from '../../../tensor/tensor.ts';
import type { CudaCalls } from '../device/cuda-calls.ts';
import { CudaTensor, rowStride } from '../device/cuda-tensor.ts';
import { NcclGroup } from '../nccl/nccl-group.ts';
import { concatColumns } from './rows.ts';

/** Each tensor's sum over all ranks, in place where its rows follow one another. */
export function allReduce(calls: CudaCalls, tensors: readonly Tensor[], group: ProcessGroup): CudaTensor[] {
  const own = tensors.map((x) => calls.floats(x, 'x', x.shape));
  if (group.size === 1) return own;
  const nccl = groupOfGpus(group);
  const packed = own.map((x) => packedRows(calls, x));
  const parts = packed.map((x) => ({ address: x.address, count: spanOf(x) }));
  // A rank that is left over repeats a shard, which must not count twice.
  if (nccl.rank >= group.size) for (const { address, count } of parts) calls.clear(address, 4 * count);
  nccl.reduce(parts);
  return packed;
}

export function allGatherColumns(calls: CudaCalls, x: Tensor, group: ProcessGroup): CudaTensor {
  const own = packedRows(calls, calls.floats(x, 'x', [null, null]));
  if (group.size === 1) return own;
  const nccl = groupOfGpus(group);
  const [T] = own.shape;
  const count = T * own.stride;
  const all = calls.memory.allocate(4 * count * nccl.size);
  nccl.gather({ address: own.address, count }, all);
  const parts = Array.from({ length: group.size }, (_, rank) => {
    return new CudaTensor(calls.owner, all + 4 * rank * count, own.shape, own.stride);
  });
  return concatColumns(calls, parts);
}

/** The GPUs that take part in the exchanges of a group, which may be a part of them. @throws ShardingError */
function groupOfGpus(group: ProcessGroup): NcclGroup {
  const whole = group.whole ?? group;
  if (whole instanceof NcclGroup) return whole;
  throw new ShardingError(
    `The device 'cuda' is one of ${group.size} ranks that are no GPUs of one group.`,
    'Use an NcclGroup, or one rank.',
  );
}

/** The tensor, or a copy where its rows lie among others: an exchange takes one stretch of memory. */
function packedRows(calls: CudaCalls, x: CudaTensor): CudaTensor {
  if (x.stride !== rowStride(x.shape)) return concatColumns(calls, [x]);
  calls.device.complete(x.address);
  return x;
}

/** Floats from a tensor's first to its last. */
function spanOf({ shape: [rows = 1], stride, rowSize, isEmpty }: CudaTensor): number {
  return isEmpty ? 0 : (rows - 1) * stride + rowSize;
}
