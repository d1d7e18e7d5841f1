import type { JsonObject } from '../checkpoint/json/json.ts';
import { yieldToEventLoop } from '../distributed/event-loop.ts';
import type { ProcessGroup } from '../distributed/process-group.ts';
import { type LoadWatch, makeRank, type RankOptions, type RankWeights } from '../engine/ranks/load-rank.ts';
import type { ModelRunner } from '../engine/run/model-runner.ts';
import { BLOCK_VALUES } from '../engine/weights/load-weights.ts';
import { ParameterTable } from '../layers/parameters/parameter.ts';
import type { CausalLM } from '../models/causal-lm.ts';
import { defineModel } from '../models/registry.ts';
import { SyntheticWeight } from './synthetic-weights.ts';

/** A model with synthetic weights, whose speed can be measured without its files. Plain data. */
export interface SyntheticSource {
  /** Contents of its config.json. */
  readonly config: JsonObject;
  readonly seed: number;
}

/** Makes one rank of such a model. `dtype` stored is float32. */
export async function loadSyntheticRank(
  { config, seed }: SyntheticSource,
  group: ProcessGroup,
  options: RankOptions,
  watch: LoadWatch = {},
): Promise<ModelRunner> {
  const weights: RankWeights = {
    storedDType: 'float32',
    match: (model) => () => fillWeights(model, seed, options.name, watch),
  };
  return makeRank(defineModel(config, [], options), group, options, weights, watch);
}

/** Block by block, as from a checkpoint, so that the peak of memory is one too. */
async function fillWeights(
  model: CausalLM,
  seed: number,
  name: string,
  { onProgress, signal }: LoadWatch,
): Promise<void> {
  const table = new ParameterTable(model);
  const total = table.names().reduce((sum, parameter) => sum + table.valuesToRead(parameter), 0);
  const scratch = new Float32Array(BLOCK_VALUES);
  let loaded = 0;
  for (const parameter of table.names()) {
    const weight = new SyntheticWeight(parameter, table.role(parameter), table.shape(parameter), seed);
    await table.stream(parameter, BLOCK_VALUES, async (block) => {
      await yieldToEventLoop();
      signal?.throwIfAborted();
      const values = weight.read(block, scratch);
      loaded += values.length;
      return values;
    });
    onProgress?.({ status: 'load', name, file: parameter, loaded, total, progress: (100 * loaded) / total });
  }
}
