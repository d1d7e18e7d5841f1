import { GENERATION_CONFIG_FILE } from '../../checkpoint/files/file-names.ts';
import { ConfigReader } from '../../checkpoint/json/config-reader.ts';
import type { JsonObject } from '../../checkpoint/json/json.ts';
import { SAMPLING_RANGES, type SamplingDefaults } from '../sample/sampling-params.ts';

/** Names of the values in the file. */
const KEYS: Readonly<Record<keyof SamplingDefaults, string>> = {
  temperature: 'temperature',
  topP: 'top_p',
  topK: 'top_k',
  minP: 'min_p',
  repetitionPenalty: 'repetition_penalty',
};

/**
 * The sampling values that a model's authors recommend.
 * @throws ConfigError on a value that no request could have.
 */
export function readSamplingDefaults(generationConfig: JsonObject): SamplingDefaults {
  const config = new ConfigReader(generationConfig, GENERATION_CONFIG_FILE);
  const read = (name: keyof SamplingDefaults) => {
    const range = SAMPLING_RANGES[name];
    return 'integer' in range ? config.optionalInteger(KEYS[name], range) : config.optionalNumber(KEYS[name], range);
  };
  const names = Object.keys(KEYS) as (keyof SamplingDefaults)[];
  return Object.fromEntries(
    names.map((name) => [name, read(name)] as const).filter(([, value]) => value !== undefined),
  );
}
