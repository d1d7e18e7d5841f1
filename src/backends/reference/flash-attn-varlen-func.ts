import { ArgumentError, MetadataError } from '../../errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { contiguous, floats, HostTensor, hostIndices, hostZeros } from '../contract/host-tensor.ts';
import { checkQueryStartLoc } from '../contract/sequences.ts';
import { pagedAttention, reshapeAndCache } from './attention.ts';

/** Arguments of {@link flashAttnVarlenFunc}. */
export interface FlashAttnVarlenArgs {
  /** (T, H, D): the packed sequences' queries. */
  readonly q: Tensor;
  /** (Tk, Hkv, D); query head h uses head h / (H/Hkv). */
  readonly k: Tensor;
  /** (Tk, Hkv, D) */
  readonly v: Tensor;
  /** (sequences + 1) int32, from 0 to T. Default: one sequence. */
  readonly cuSeqlensQ?: Tensor | undefined;
  /** (sequences + 1) int32, from 0 to Tk. Default: cuSeqlensQ. */
  readonly cuSeqlensK?: Tensor | undefined;
  /** Default: 1 / sqrt(D). */
  readonly softmaxScale?: number | undefined;
}

/**
 * {@link AttentionOps.pagedAttention} as a function of its inputs, without a cache: causal attention within each sequence.
 * Where it has fewer queries than keys, the queries are its last tokens'.
 * @returns (T, H, D)
 *
 * @example
 * ```ts
 * // Two tokens, four query heads that share two key-value heads of 8 columns.
 * const ones = (heads: number) => hostTensor(new Float32Array(2 * heads * 8).fill(1), [2, heads, 8]);
 * const out = flashAttnVarlenFunc({ q: ones(4), k: ones(2), v: ones(2) }); // (2, 4, 8)
 * ```
 */
export function flashAttnVarlenFunc(args: FlashAttnVarlenArgs): HostTensor<Float32Array> {
  const { q, k, v } = args;
  if ([q, k, v].some(({ shape }) => shape.length !== 3)) {
    throw new ArgumentError('q, k or v has other than three dimensions.', 'Pass (T, heads, D).');
  }
  const [T, H, D] = q.shape;
  const [tokens, kvHeads] = k.shape;
  const query = rows(q, 'q', [T, H, D]);
  const [key, value] = [rows(k, 'k', [tokens, kvHeads, D]), rows(v, 'v', [tokens, kvHeads, D])];
  const queryStartLoc = args.cuSeqlensQ ?? hostIndices([0, T]);
  const starts = checkQueryStartLoc(queryStartLoc, T);
  const keyStarts = checkQueryStartLoc(args.cuSeqlensK ?? args.cuSeqlensQ ?? hostIndices([0, tokens]), tokens);
  const sequences = starts.length - 1;
  if (keyStarts.length !== starts.length) {
    throw new MetadataError(`cuSeqlensQ is of ${sequences} sequences and cuSeqlensK of ${keyStarts.length - 1}.`);
  }
  // Each token in a block of its own, so that sequences can begin anywhere.
  const caches = [hostZeros([tokens, 1, kvHeads, D]), hostZeros([tokens, 1, kvHeads, D])] as const;
  const [keyCache, valueCache] = caches;
  reshapeAndCache({
    key,
    value,
    keyCache,
    valueCache,
    slotMapping: hostIndices(Array.from({ length: tokens }, (_, t) => t)),
  });
  const contextLens = Array.from({ length: sequences }, (_, s) => keyStarts[s + 1] - keyStarts[s]);
  const width = Math.max(0, ...contextLens);
  const blocks = contextLens.flatMap((length, s) =>
    Array.from({ length: width }, (_, j) => (j < length ? keyStarts[s] + j : 0)),
  );
  const out = pagedAttention({
    query,
    keyCache,
    valueCache,
    queryStartLoc,
    contextLens: hostIndices(contextLens),
    blockTables: hostIndices(blocks),
    scale: args.softmaxScale ?? D ** -0.5,
  });
  return new HostTensor(out.data, [T, H, D]);
}

/** (T, heads, D) → (T, heads * D) */
function rows(x: Tensor, name: string, shape: readonly [number, number, number]): HostTensor<Float32Array> {
  const [T, heads, D] = shape;
  return new HostTensor(contiguous(floats(x, name, shape)), [T, heads * D]);
}
