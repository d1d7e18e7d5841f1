import type { Checkpoint } from '../../checkpoint/checkpoint.ts';
import { MissingTensorError, WeightShapeError } from '../../errors.ts';
import type { WeightCheck } from '../../layers/parameters/layer-context.ts';
import type { Module } from '../../layers/parameters/parameter.ts';
import type { ModelDefinition } from '../../models/causal-lm.ts';
import { elementCount, formatShape } from '../../tensor/tensor.ts';
import { listed } from './load-weights.ts';

/** Number of missing weights at which no more layers are made; `matchNames` reports fewer missing weights in full. */
const MAX_MISSING = 1000;

/**
 * Ends the making of a model whose config asks for more than the checkpoint can hold: more layers or experts, or a weight
 * of more values than there are in all files. So a model that only `matchNames` refuses is never large.
 */
export function headerCheck(definition: ModelDefinition, checkpoint: Checkpoint): WeightCheck {
  const stored = new Set<string>();
  let total = 0;
  for (const name of checkpoint.names()) {
    const parameterName = definition.parameterName(name);
    if (parameterName !== undefined) stored.add(parameterName);
    total += elementCount(checkpoint.info(name).shape);
  }
  const missing: string[] = [];
  const check = (prefix: string, part: Module) => {
    for (const [name, { shape }] of part.parameters()) {
      const whole = `${prefix}.${name}`;
      if (elementCount(shape) > total) {
        throw new WeightShapeError(
          `config.json implies '${whole}' of shape ${formatShape(shape)}, but all weights in '${checkpoint.folder}' have ${total} values.`,
          'config.json and the weights belong to different models.',
        );
      }
      if (!stored.has(whole)) missing.push(whole);
      if (missing.length < MAX_MISSING) continue;
      throw new MissingTensorError(
        `The checkpoint in '${checkpoint.folder}' lacks ${listed(missing)} and more that the config asks for.`,
        'config.json and the weights belong to different models, or a shard is missing.',
      );
    }
  };
  return Object.assign(check, { stored });
}
