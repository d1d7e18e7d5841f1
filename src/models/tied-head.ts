import type { JsonObject } from '../checkpoint/json/json.ts';
import type { ModelDefinition } from './causal-lm.ts';

/** The output head's name, in checkpoints and in models. */
export const HEAD = 'lm_head.weight';

/** The config with a head of its own, in either layout's key. */
export function untied(json: JsonObject): JsonObject {
  return { ...json, tie_word_embeddings: false, tie_embeddings: false };
}

/**
 * The definition for a checkpoint's name of a tied table: the embeddings' name; both names, for the same values; or the
 * head's name alone.
 * @param stored names of the checkpoint's tensors.
 */
export function withTiedHead(definition: ModelDefinition, stored: Iterable<string>): ModelDefinition {
  const { config, embeddings, parameterName } = definition;
  if (!config.tieWordEmbeddings) return definition;
  const hasEmbeddings = [...stored].some((name) => parameterName(name) === embeddings);
  const head = hasEmbeddings ? undefined : embeddings;
  return { ...definition, parameterName: (name) => (name === HEAD ? head : parameterName(name)) };
}
