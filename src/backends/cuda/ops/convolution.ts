import { elementCount } from '../../../tensor/tensor.ts';
import {
  type Activation,
  type CausalConv1dArgs,
  type CausalConv1dUpdateArgs,
  checkSeenTokens,
  checkStateWidth,
} from '../../contract/convolution.ts';
import { checkSlots, slotsOrDefault } from '../../contract/sequences.ts';
import { type CudaCalls, elementGrid, flag } from '../device/cuda-calls.ts';
import type { CudaTensor } from '../device/cuda-tensor.ts';
import { checkSequences } from './sequences.ts';

/** Channels of a block of causal_conv1d_four, and tokens of its threads. */
const FOUR_CHANNELS = 512;
const FOUR_TOKENS = 8;

export function causalConv1dFn(calls: CudaCalls, args: CausalConv1dArgs): CudaTensor {
  const [C, K] = args.weight.shape;
  const x = calls.floats(args.x, 'x', [null, C]);
  const weight = calls.floats(args.weight, 'weight', [null, null]);
  const bias = calls.optional(args.bias, 'bias', [C]);
  const states = calls.floats(args.convStates, 'convStates', [null, C, null]);
  const W = checkStateWidth(states, K);
  const [T] = x.shape;
  const { count, ...places } = checkSequences(calls, args, T, states.shape[0]);
  const out = calls.target(args.out, x.shape);
  const shared = { x, ...places, states: states.address, stateStride: states.stride, C, W, count };
  const keepsState = flag(W > 0 && T > 0 && args.keepState !== false);
  const own = { ...shared, weight, bias, out, T, K, isSilu: isSilu(args.activation), hasBias: flag(bias), keepsState };
  if (K === 4 && W === 3 && T > 0) {
    const blocks = [Math.floor(T / FOUR_TOKENS) + count, Math.ceil(C / FOUR_CHANNELS)] as const;
    calls.device.launch('causal_conv1d_four', { blocks, threads: 128 }, own);
    return out;
  }
  calls.device.launch('causal_conv1d_fn', elementGrid(T, C), own);
  if (keepsState) calls.device.launch('causal_conv1d_states', elementGrid(count, C), shared);
  return out;
}

export function causalConv1dUpdate(calls: CudaCalls, args: CausalConv1dUpdateArgs): CudaTensor {
  const [C, K] = args.weight.shape;
  const several = args.x.shape.length === 3;
  const x = calls.floats(args.x, 'x', several ? [null, null, C] : [null, C]);
  const [B, L] = several ? x.shape : [x.shape[0], 1];
  const weight = calls.floats(args.weight, 'weight', [null, null]);
  const bias = calls.optional(args.bias, 'bias', [C]);
  const states = calls.floats(args.convState, 'convState', [null, C, null]);
  const W = checkStateWidth(states, K);
  const slots = args.convStateIndices && calls.indices(args.convStateIndices, 'convStateIndices', B);
  checkSlots(slotsOrDefault(slots, 'convStateIndices', B), states.shape[0], 'convStateIndices');
  const seen = args.cacheSeqlens && calls.indices(args.cacheSeqlens, 'cacheSeqlens', B);
  if (seen) checkSeenTokens(seen.data);
  const out = calls.target(args.out, x.shape);
  if (elementCount(x.shape) === 0) return out;
  calls.device.launch('causal_conv1d_update', elementGrid(B, C), {
    ...{ x, weight, bias, out, states: states.address, stateStride: states.stride },
    ...{ slots: slots?.address, seen: seen?.address, B, L, C, K, W },
    ...{ isSilu: isSilu(args.activation), hasBias: flag(bias) },
  });
  return out;
}

function isSilu(activation: Activation | undefined): 0 | 1 {
  return flag(activation === 'silu' || activation === 'swish');
}
