import type { Tensor } from '../../tensor/tensor.ts';

/** Steps, whose intermediate results need not outlive them. */
export interface StepOps {
  /**
   * Runs `run`, whose intermediate results need not outlive it: what is made inside is gone at its end. Results are read
   * inside. What is made outside of any scope (weights, states) stays.
   */
  scope<T>(run: () => T): T;

  /**
   * Runs `compute` on int32 vectors in a scope; its results live until something else is made. A backend may repeat what
   * was enqueued the last time under the same key instead of running `compute` again, as CUDA graphs do for vLLM: so what
   * `compute` does may depend on the key and on the lengths of the inputs, but not on their values, and it must not bring
   * host data of its own (no `tensor`). Values are checked when `compute` runs; who repeats a step checks them first.
   */
  step(
    key: string,
    inputs: readonly Int32Array[],
    compute: (inputs: readonly Tensor[]) => readonly Tensor[],
  ): readonly Tensor[];
}
