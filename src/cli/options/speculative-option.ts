import { isJsonObject } from '../../checkpoint/json/json.ts';
import { checkSpeculativeConfig, type SpeculativeConfig } from '../../engine/speculate/speculative-config.ts';
import { Mamba2Error } from '../../errors.ts';
import { asError } from '../../util/as-error.ts';
import type { Option } from './option.ts';
import { UsageError } from './usage-error.ts';

/** vLLM's names of the settings, and ours. */
const NAMES = {
  method: 'method',
  num_speculative_tokens: 'numSpeculativeTokens',
  prompt_lookup_max: 'promptLookupMax',
  prompt_lookup_min: 'promptLookupMin',
  model: 'model',
} as const;

const EXAMPLE = '\'{"method": "ngram", "num_speculative_tokens": 8}\'';

/** How tokens are guessed, as JSON. */
export function speculativeOption(): Option<SpeculativeConfig | undefined> {
  const read = (given: readonly string[], flag: string) => {
    const raw = given.at(-1);
    return raw === undefined ? undefined : parse(raw, flag);
  };
  const description = `Guess several tokens a step, without changing any, by ngram, draft_model or mtp: ${EXAMPLE}`;
  return { placeholder: 'json', description, short: undefined, read };
}

function parse(raw: string, flag: string): SpeculativeConfig {
  let json: unknown;
  try {
    json = JSON.parse(raw);
  } catch (error) {
    throw new UsageError(`${flag} is not JSON: ${asError(error).message}.`, `Such as ${EXAMPLE}.`);
  }
  if (!isJsonObject(json)) throw new UsageError(`${flag} is no JSON object.`, `Such as ${EXAMPLE}.`);
  const known = new Map<string, string>(Object.entries(NAMES));
  const unknown = Object.keys(json).find((name) => !known.has(name));
  if (unknown !== undefined) {
    throw new UsageError(`${flag} has '${unknown}'; known are ${[...known.keys()].join(', ')}.`);
  }
  const settings = Object.fromEntries(Object.entries(json).map(([name, value]) => [known.get(name), value]));
  try {
    return checkSpeculativeConfig(settings as unknown as SpeculativeConfig);
  } catch (error) {
    if (!(error instanceof Mamba2Error)) throw error;
    const problem = error.message.replace(/^speculativeConfig/, flag);
    throw new UsageError(Object.entries(NAMES).reduce((text, [name, own]) => text.replaceAll(own, name), problem));
  }
}
