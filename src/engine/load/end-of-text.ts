import { GENERATION_CONFIG_FILE } from '../../checkpoint/files/file-names.ts';
import { getOwn, isJsonObject, type JsonObject } from '../../checkpoint/json/json.ts';
import type { ModelConfig } from '../../models/causal-lm.ts';
import { readTokenIds } from '../../models/config/token-ids.ts';
import type { TextTokenizer } from '../../text/tokenizer.ts';

/** Files and parts that name the tokens at which a model ends. */
export interface EndOfTextSources {
  readonly config: Pick<ModelConfig, 'eosTokenIds' | 'vocabSize'>;
  /** config.json, whose language model may stand in a `text_config`. */
  readonly json: JsonObject;
  readonly generationConfig: JsonObject;
  readonly tokenizer: Pick<TextTokenizer, 'endTokenIds'> | undefined;
}

/**
 * The tokens that end a text, by all that name any: config.json, generation_config.json, and the tokenizer's `eos_token`
 * and `eot_token`. They contradict each other in many repositories, and each is right in some.
 * @throws ConfigError for values that are no token ids
 */
export function endOfTextIds({ config, json, generationConfig, tokenizer }: EndOfTextSources): readonly number[] {
  const textConfig = getOwn(json, 'text_config');
  const ids = [
    ...config.eosTokenIds,
    ...(isJsonObject(textConfig) ? readTokenIds(textConfig, 'eos_token_id', 'config.json, text_config') : []),
    ...readTokenIds(generationConfig, 'eos_token_id', GENERATION_CONFIG_FILE),
    ...(tokenizer?.endTokenIds ?? []),
  ];
  // A token without a row never comes.
  return [...new Set(ids)].filter((id) => id < config.vocabSize);
}
