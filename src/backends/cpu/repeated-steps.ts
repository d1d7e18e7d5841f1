import {
  type RepeatableStep,
  type StepInputs,
  type StepResults,
  stepKey,
  stepTensors,
  stepVectors,
} from '../contract/steps.ts';
import type { KernelCalls, Recording } from './kernels/kernel-calls.ts';
import { CpuIndices } from './memory/cpu-indices.ts';
import type { CpuMemory } from './memory/cpu-memory.ts';
import { cpuFloats } from './memory/cpu-tensor.ts';

/** A step that ran once, ready to run again. */
interface RecordedStep {
  /** Start of its memory: while steps begin here, everything in them lies at the same addresses. */
  readonly base: number;
  /** Inputs in the order of the step's vectors. */
  readonly inputs: readonly CpuIndices[];
  readonly recording: Recording;
  readonly results: StepResults;
}

/** Steps that were recorded, by key; see {@link StepOps.step}. */
export class RepeatedSteps {
  readonly #memory: CpuMemory;
  readonly #calls: KernelCalls;
  readonly #steps = new Map<string, RecordedStep>();

  constructor(memory: CpuMemory, calls: KernelCalls) {
    this.#memory = memory;
    this.#calls = calls;
  }

  /** Runs or repeats a step. Its results live until something else is allocated. */
  run<I extends StepInputs, R extends StepResults>(step: RepeatableStep<I, R>): R {
    const key = stepKey(step);
    const known = this.#steps.get(key);
    if (known?.base !== this.#memory.top) return this.#record(key, step);
    for (const [i, values] of stepVectors(step.inputs).entries()) known.inputs[i].write(values);
    for (const call of known.recording) call();
    // Steps of one key give the same results.
    return known.results as R;
  }

  #record<I extends StepInputs, R extends StepResults>(key: string, { inputs, compute }: RepeatableStep<I, R>): R {
    const base = this.#memory.top;
    return this.#memory.scope(() => {
      const indices: CpuIndices[] = [];
      const tensors = stepTensors(inputs, (values) => {
        const tensor = new CpuIndices(this.#memory, values, [values.length]);
        indices.push(tensor);
        return tensor;
      });
      const { result: results, recording } = this.#calls.record(() => compute(tensors));
      for (const [name, tensor] of Object.entries(results)) {
        if (tensor) cpuFloats(this.#memory, tensor, name, tensor.shape);
      }
      this.#steps.set(key, { base, inputs: indices, recording, results });
      return results;
    });
  }
}
