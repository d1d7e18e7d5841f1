import type { Activation } from '../contract/convolution.ts';

export function sigmoid(v: number): number {
  return 1 / (1 + Math.exp(-v));
}

export function silu(v: number): number {
  return v * sigmoid(v);
}

/** log(1 + exp(v)) without overflow for large v and without loss for very negative v. */
export function softplus(v: number): number {
  return v > 20 ? v : Math.log1p(Math.exp(v));
}

export function activateValue(v: number, activation: Activation | undefined): number {
  return activation === 'silu' || activation === 'swish' ? silu(v) : v;
}
