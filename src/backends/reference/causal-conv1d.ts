import {
  type CausalConv1dArgs,
  type CausalConv1dUpdateArgs,
  checkSeenTokens,
  checkStateWidth,
} from '../contract/convolution.ts';
import { floats, type HostTensor, hostZeros, ints, vector } from '../contract/host-tensor.ts';
import { checkQueryStartLoc, checkSlots, PAD_SLOT_ID, slotsOrDefault } from '../contract/sequences.ts';
import { activateValue } from './activation.ts';

/**
 * Reference of {@link StateSpaceOps.causalConv1dFn}.
 *
 * @example
 * ```ts
 * // Three tokens of one sequence, two channels, four taps.
 * const convStates = hostZeros([1, 2, 3]);
 * const out = causalConv1dFn({
 *   x: hostTensor([1, 2, 3, 4, 5, 6], [3, 2]),
 *   weight: hostTensor([0, 0, 0, 1, 0, 0, 0.5, 0.5], [2, 4]),
 *   activation: 'silu',
 *   convStates,
 *   queryStartLoc: hostIndices([0, 3]),
 * });
 * ```
 */
export function causalConv1dFn(args: CausalConv1dArgs): HostTensor<Float32Array> {
  const { activation } = args;
  const [C, K] = args.weight.shape;
  const x = floats(args.x, 'x', [null, C]);
  const T = x.shape[0];
  const weight = floats(args.weight, 'weight', [null, null]);
  const bias = args.bias && vector(args.bias, 'bias', C);
  const states = floats(args.convStates, 'convStates', [null, C, null]);
  const W = checkStateWidth(states, K);
  const starts = checkQueryStartLoc(args.queryStartLoc, T);
  const sequences = starts.length - 1;
  const slots = slotsOrDefault(args.cacheIndices, 'cacheIndices', sequences);
  checkSlots(slots, states.shape[0], 'cacheIndices');
  const hasInitialState = args.hasInitialState && ints(args.hasInitialState, 'hasInitialState', sequences);
  const out = args.out ? floats(args.out, 'out', [T, C]) : hostZeros([T, C]);

  for (let b = 0; b < sequences; b++) {
    const [begin, end, slot] = [starts[b], starts[b + 1], slots[b]];
    if (begin === end) continue;
    if (slot === PAD_SLOT_ID) {
      copyRows(x, out, begin, end);
      continue;
    }
    for (let c = 0; c < C; c++) {
      const kept = states.data.subarray(slot * states.stride + c * W, slot * states.stride + (c + 1) * W);
      const state = args.keepState === false ? kept.slice() : kept;
      if (!hasInitialState?.[b]) state.fill(0);
      for (let t = begin; t < end; t++) {
        const input = x.data[t * x.stride + c];
        out.data[t * out.stride + c] = activateValue(convolve(state, input, weight, c, bias?.[c] ?? 0), activation);
        state.copyWithin(0, 1);
        if (W > 0) state[W - 1] = input;
      }
    }
  }
  return out;
}

/**
 * Reference of {@link StateSpaceOps.causalConv1dUpdate}.
 *
 * @example
 * ```ts
 * const convState = hostZeros([1, 2, 3]);
 * const weight = hostTensor([0, 0, 0, 1, 0, 0, 0.5, 0.5], [2, 4]);
 * const out = causalConv1dUpdate({ x: hostTensor([1, 2], [1, 2]), convState, weight }); // (1, 2)
 * ```
 */
export function causalConv1dUpdate(args: CausalConv1dUpdateArgs): HostTensor<Float32Array> {
  const { activation } = args;
  const [C, K] = args.weight.shape;
  const several = args.x.shape.length === 3;
  const x = floats(args.x, 'x', several ? [null, null, C] : [null, C]);
  const [B, L] = several ? x.shape : [x.shape[0], 1];
  const weight = floats(args.weight, 'weight', [null, null]);
  const bias = args.bias && vector(args.bias, 'bias', C);
  const states = floats(args.convState, 'convState', [null, C, null]);
  const W = checkStateWidth(states, K);
  const slots = slotsOrDefault(args.convStateIndices, 'convStateIndices', B);
  checkSlots(slots, states.shape[0], 'convStateIndices');
  const seen = args.cacheSeqlens && ints(args.cacheSeqlens, 'cacheSeqlens', B);
  if (seen) checkSeenTokens(seen);
  const out = args.out ? floats(args.out, 'out', x.shape) : hostZeros(x.shape);

  for (let b = 0; b < B; b++) {
    if (slots[b] === PAD_SLOT_ID) {
      copyRows(x, out, b, b + 1);
      continue;
    }
    for (let c = 0; c < C; c++) {
      const state = states.data.subarray(slots[b] * states.stride + c * W, slots[b] * states.stride + (c + 1) * W);
      // A ring is read oldest first, so that both kinds of state look the same to the convolution.
      const head = seen && W > 0 ? seen[b] % W : 0;
      rotateLeft(state, head);
      for (let i = 0; i < L; i++) {
        const input = x.data[b * x.stride + i * C + c];
        const value = convolve(state, input, weight, c, bias?.[c] ?? 0);
        out.data[b * out.stride + i * C + c] = activateValue(value, activation);
        state.copyWithin(0, 1);
        if (W > 0) state[W - 1] = input;
      }
      if (seen && W > 0) rotateLeft(state, (2 * W - head - (L % W)) % W);
    }
  }
  return out;
}

/** bias + Σ_w weight[c, w] * window[w], where the window is the last K-1 entries of the state, then the input. */
function convolve(
  state: Float32Array,
  input: number,
  weight: HostTensor<Float32Array>,
  c: number,
  bias: number,
): number {
  const K = weight.shape[1];
  const oldest = state.length - (K - 1);
  let sum = bias;
  for (let w = 0; w < K - 1; w++) sum += weight.data[c * weight.stride + w] * state[oldest + w];
  return sum + weight.data[c * weight.stride + K - 1] * input;
}

function rotateLeft(state: Float32Array, places: number): void {
  if (places === 0) return;
  const first = state.slice(0, places);
  state.copyWithin(0, places);
  state.set(first, state.length - places);
}

function copyRows(from: HostTensor<Float32Array>, to: HostTensor<Float32Array>, begin: number, end: number): void {
  for (let r = begin; r < end; r++) {
    to.data.set(from.data.subarray(r * from.stride, r * from.stride + from.rowSize), r * to.stride);
  }
}
