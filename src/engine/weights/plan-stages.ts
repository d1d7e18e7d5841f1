import { ReferenceBackend } from '../../backends/reference/reference-backend.ts';
import { singleProcess } from '../../distributed/process-group.ts';
import { ShardingError } from '../../errors.ts';
import { LayerContext, type Stage } from '../../layers/parameters/layer-context.ts';
import { ParameterTable } from '../../layers/parameters/parameter.ts';
import type { CausalLM, ModelDefinition } from '../../models/causal-lm.ts';
import { memoryInStorage } from './weight-memory.ts';
import type { WeightStorage } from './weight-storage.ts';

/** Division of a model's layers among stages. */
export interface PipelinePlan {
  readonly stages: readonly Stage[];
  /** Numbers per token that cross from one stage to the next. */
  readonly activationSize: number;
}

/** A stage of a model without its weights: what it would have, and need. */
export function stageOf(
  definition: ModelDefinition,
  { weightDType, quantConfig }: Pick<WeightStorage, 'weightDType' | 'quantConfig'>,
  stage: Stage,
): CausalLM {
  return definition.create(
    new LayerContext(new ReferenceBackend(), singleProcess, weightDType, { stage }),
    quantConfig,
  );
}

/**
 * Divides a model's layers into runs so that the stage with the most bytes of weights has as few as possible. Embeddings
 * count for the first stage, the output head for the last, a table that is both for both.
 * @param size number of stages.
 * @throws ShardingError where there are fewer layers.
 */
export function planStages(
  definition: ModelDefinition,
  storage: Pick<WeightStorage, 'weightDType' | 'quantConfig'>,
  size: number,
): PipelinePlan {
  const { numHiddenLayers } = definition.config;
  if (size > numHiddenLayers) {
    throw new ShardingError(
      `pipelineParallelSize is ${size}, but the model has ${numHiddenLayers} layers.`,
      'Use at most as many stages as there are layers.',
    );
  }
  const layers = Array.from({ length: numHiddenLayers }, (_, i) =>
    stageOf(definition, storage, { begin: i, end: i + 1 }),
  );
  const lengths = evenRuns(
    layers.map((layer) => memoryInStorage(new ParameterTable(layer))),
    size,
  );
  let end = 0;
  const stages = lengths.map((length) => {
    end += length;
    return { begin: end - length, end };
  });
  return { stages, activationSize: layers[0].activationSize };
}

/** Lengths of `count` runs of weights, none of them empty, the heaviest of which is as light as it can be. */
export function evenRuns(weights: readonly number[], count: number): number[] {
  const sums = [0];
  for (const weight of weights) sums.push(sums[sums.length - 1] + weight);
  /** For the first i weights in some number of runs: weight of the heaviest, and where the last begins. */
  let best = sums.map((heaviest) => ({ heaviest, begins: [0] }));
  for (let runs = 2; runs <= count; runs++) {
    best = sums.map((sum, end) => {
      let found = { heaviest: Number.POSITIVE_INFINITY, begins: [0] };
      for (let begin = runs - 1; begin < end; begin++) {
        const heaviest = Math.max(best[begin].heaviest, sum - sums[begin]);
        if (heaviest < found.heaviest) found = { heaviest, begins: [...best[begin].begins, begin] };
      }
      return found;
    });
  }
  const { begins } = best[weights.length];
  return begins.map((begin, i) => (begins[i + 1] ?? weights.length) - begin);
}
