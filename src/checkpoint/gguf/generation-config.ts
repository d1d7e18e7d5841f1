import type { JsonObject } from '../json/json.ts';
import type { GgufMetadata } from './gguf-metadata.ts';
import { namedTokenIds } from './tokenizer/named-tokens.ts';

/** Hugging Face's names of the sampling values that a file may recommend. */
const SAMPLING = {
  temperature: 'temp',
  top_k: 'top_k',
  top_p: 'top_p',
  min_p: 'min_p',
  repetition_penalty: 'penalty_repeat',
} as const;

/** generation_config.json: the tokens that end a text, a turn or a message, and recommended sampling values. */
export function generationConfig(metadata: GgufMetadata): JsonObject {
  const { bos, eos, eot, eom } = namedTokenIds(metadata);
  const ends = [...new Set([eos, eot, eom].filter((id) => id !== undefined))];
  const sampling = Object.entries(SAMPLING).flatMap(([name, key]): [string, number][] => {
    const value = metadata.optionalNumber(`general.sampling.${key}`);
    return value === undefined ? [] : [[name, value]];
  });
  return {
    ...(bos === undefined ? {} : { bos_token_id: bos }),
    ...(ends.length > 0 ? { eos_token_id: ends } : {}),
    ...Object.fromEntries(sampling),
  };
}
