import {
  mapResults,
  type RepeatableStep,
  type StepInputs,
  type StepResults,
  stepKey,
  stepTensors,
  stepVectors,
} from '../contract/steps.ts';
import type { CudaCalls } from './device/cuda-calls.ts';
import { CudaIndices, type CudaTensor } from './device/cuda-tensor.ts';
import type { Handle } from './device/driver.ts';

/** Kinds of steps that are kept. A model without attention has two for each number of sequences that decode together. */
const MAX_STEPS = 128;
/** int32 values to whose multiples vectors are moved apart. */
const ALIGNED = 4;

/** A step that ran before: once, or as a graph, whose tensors lie where they did then. */
interface KnownStep {
  readonly graph?: Handle;
  readonly results?: Readonly<Record<string, CudaTensor | undefined>>;
}

/**
 * Steps by key; see StepOps.step. A step that comes again is captured as a graph, which later ones launch: one call of the
 * driver in place of one for each kernel. All begin with empty scopes, so that their tensors have the same addresses.
 */
export class RepeatedSteps {
  readonly #calls: CudaCalls;
  readonly #steps = new Map<string, KnownStep>();

  constructor(calls: CudaCalls) {
    this.#calls = calls;
  }

  /** Runs a step outside of any scope. Its results live until something else is allocated. */
  run<I extends StepInputs, R extends StepResults>(step: RepeatableStep<I, R>): R {
    const { device, memory } = this.#calls;
    const key = stepKey(step);
    const known = this.#steps.get(key);
    // Last: maps keep the order in which keys were set.
    this.#steps.delete(key);
    if (!known) this.#makeRoom();
    // Steps of one key give the same results.
    return memory.scope(() => {
      const inputs = this.#place(stepVectors(step.inputs));
      if (known?.graph !== undefined) {
        device.call('cuGraphLaunch', known.graph, device.stream);
        this.#steps.set(key, known);
        return known.results as R;
      }
      const compute = () => {
        const next = inputs.values();
        const tensors = stepTensors(step.inputs, (values) => next.next().value ?? this.#calls.newIndices(values));
        return mapResults(step.compute(tensors), (result) => this.#calls.floats(result, 'result', result.shape));
      };
      if (!known) {
        const results = compute();
        this.#steps.set(key, {});
        return results as R;
      }
      let results: KnownStep['results'];
      const graph = device.capture(
        () => {
          results = compute();
          memory.keepForGraph();
        },
        () => Object.values(results ?? {}).flatMap((result) => result?.address ?? []),
      );
      this.#steps.set(key, { graph, results: results ?? {} });
      device.call('cuGraphLaunch', graph, device.stream);
      return results as R;
    });
  }

  /** Destroys the graphs. Those that are running end first, without being waited for. The device may be lost. */
  dispose(): void {
    const { functions } = this.#calls.device.driver;
    for (const { graph } of this.#steps.values()) if (graph !== undefined) functions.cuGraphExecDestroy(graph);
    this.#steps.clear();
  }

  /** The vectors on the device, copied together. */
  #place(vectors: readonly Int32Array[]): CudaIndices[] {
    const lengths = vectors.map(({ length }) => Math.ceil(length / ALIGNED) * ALIGNED);
    const all = new Int32Array(lengths.reduce((sum, length) => sum + length, 0));
    const address = this.#calls.memory.allocate(all.byteLength);
    let at = 0;
    const placed = vectors.map((values, i) => {
      all.set(values, at);
      const indices = new CudaIndices(this.#calls.owner, address + 4 * at, values);
      at += lengths[i];
      return indices;
    });
    this.#calls.upload(address, all);
    return placed;
  }

  #makeRoom(): void {
    if (this.#steps.size < MAX_STEPS) return;
    const [[key, { graph }]] = this.#steps;
    this.#steps.delete(key);
    if (graph !== undefined) this.#calls.device.call('cuGraphExecDestroy', graph);
  }
}
