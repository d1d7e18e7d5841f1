/**
 * Nonlinearities of feed-forward layers. `gelu` is the exact one, x Φ(x); `gelu_tanh` its approximation by tanh;
 * `relu2` is max(x, 0)².
 */
export const MLP_ACTIVATIONS = ['silu', 'gelu', 'gelu_tanh', 'relu', 'relu2', 'identity'] as const;
export type MlpActivation = (typeof MLP_ACTIVATIONS)[number];
