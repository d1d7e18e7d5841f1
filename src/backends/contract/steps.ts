import type { Tensor } from '../../tensor/tensor.ts';

/** int32 vectors of a step by name, in groups where they have any. An absent group may be undefined. */
export type StepInputs = { readonly [name: string]: Int32Array | StepInputs | undefined };

/** Inputs with a tensor in place of each vector. */
export type StepTensors<I> = { readonly [K in keyof I]: TensorsFor<I[K]> };
/** One input of a step as a tensor, or a group of inputs as tensors. */
export type TensorsFor<V> = V extends Int32Array ? Tensor : V extends StepInputs ? StepTensors<V> : V;

/** Results of a step by name. */
export type StepResults = Readonly<Record<string, Tensor | undefined>>;

/** A step whose commands a backend may keep. */
export interface RepeatableStep<I extends StepInputs, R extends StepResults> {
  /** Everything that the step depends on, except for the names and lengths of its inputs. */
  readonly variant: Readonly<Record<string, string | number | boolean>>;
  readonly inputs: I;
  readonly compute: (inputs: StepTensors<I>) => R;
}

/** Steps and scopes, whose intermediate results need not outlive them. */
export interface StepOps {
  /**
   * Runs `run`. Tensors that are made inside are released at its end, so results are read inside. Tensors that are made
   * outside of any scope (weights, states) stay.
   */
  scope<T>(run: () => T): T;

  /**
   * Runs a part of a scope, such as a layer. Of the tensors that are made inside only the result lives on, until the part
   * after the next one begins: each part may read what the one before it gave. So a scope of many parts takes little more
   * memory than its largest one. A part has no parts. Outside of scopes everything stays.
   * @param shape of the result. Equal for all parts of a scope.
   * @returns the result, which may lie elsewhere than where `run` put it
   */
  part(shape: readonly number[], run: () => Tensor): Tensor;

  /**
   * Runs a step's `compute` on its inputs in a scope; its results live until another tensor is made. For the same
   * variant and inputs of the same names and lengths, a backend may repeat the operations of the last time instead of
   * running `compute` again, as CUDA graphs do for vLLM. So the operations must not depend on the inputs' values, and
   * `compute` must not bring host data of its own (no `tensor`). Values are checked when `compute` runs; a caller that
   * repeats a step checks them first.
   */
  step<I extends StepInputs, R extends StepResults>(step: RepeatableStep<I, R>): R;
}

/** Equal for steps that do the same with their inputs. */
export function stepKey({
  variant,
  inputs,
}: Pick<RepeatableStep<StepInputs, StepResults>, 'variant' | 'inputs'>): string {
  return JSON.stringify([variant, inputs], (_, value) => (value instanceof Int32Array ? value.length : value));
}

/** The vectors of a step's inputs, in their order. */
export function stepVectors(inputs: StepInputs): Int32Array[] {
  return Object.values(inputs).flatMap((value) => {
    if (value === undefined) return [];
    return value instanceof Int32Array ? [value] : stepVectors(value);
  });
}

/** The inputs as tensors. @param make is called for each vector, in their order. */
export function stepTensors<I extends StepInputs>(inputs: I, make: (values: Int32Array) => Tensor): StepTensors<I> {
  const tensors = Object.entries(inputs).map(([name, value]) => {
    return [name, value instanceof Int32Array ? make(value) : value && stepTensors(value, make)];
  });
  return Object.fromEntries(tensors) as StepTensors<I>;
}

/** Results with each tensor mapped; absent ones stay absent. */
export function mapResults<T, U>(
  results: Readonly<Record<string, T | undefined>>,
  map: (tensor: T) => U,
): Record<string, U | undefined> {
  const mapped = Object.entries(results).map(([name, tensor]) => [name, tensor && map(tensor)] as const);
  return Object.fromEntries(mapped);
}
