import { ArgumentError } from '../../errors.ts';
import { shown } from '../../util/shown.ts';

/** Guesses at the next tokens from the text itself: what followed when its last tokens came before. */
export interface NgramConfig {
  readonly method: 'ngram';
  /** Tokens to guess at once, at most: 1 to 64. */
  readonly numSpeculativeTokens: number;
  /** Last tokens that are looked up, at most. Default: 5, or `promptLookupMin` if that is more. */
  readonly promptLookupMax?: number | undefined;
  /** Last tokens that must have come before. Default: 3, or `promptLookupMax` if that is less. */
  readonly promptLookupMin?: number | undefined;
}

/** Guesses by a small model with the same vocabulary. */
export interface DraftModelConfig {
  readonly method: 'draft_model';
  /** Tokens to guess at once, at most: 1 to 64. */
  readonly numSpeculativeTokens: number;
  /** Folder, GGUF file, bundled name, hub id or URL of the model. */
  readonly model: string;
}

/** Guesses by layers of the model itself, which its checkpoint has for them (multi-token prediction). */
export interface MtpConfig {
  /** vLLM also takes the name with the kind of the model. */
  readonly method: 'mtp' | 'nemotron_h_mtp';
  /** Tokens to guess at once, at most: 1 to 64. */
  readonly numSpeculativeTokens: number;
}

/** How tokens are guessed. Names are those of vLLM's `speculative_config`. */
export type SpeculativeConfig = NgramConfig | DraftModelConfig | MtpConfig;

/** Such settings with their defaults, checked. */
export type SpeculativeSettings =
  | { readonly [Name in keyof NgramConfig]-?: NonNullable<NgramConfig[Name]> }
  | DraftModelConfig
  | (MtpConfig & { readonly method: 'mtp' });

/** Names of each method's settings. */
const NAMES: { readonly [M in SpeculativeConfig['method']]: readonly string[] } = {
  ngram: ['method', 'numSpeculativeTokens', 'promptLookupMax', 'promptLookupMin'],
  draft_model: ['method', 'numSpeculativeTokens', 'model'],
  mtp: ['method', 'numSpeculativeTokens'],
  nemotron_h_mtp: ['method', 'numSpeculativeTokens'],
};

const MOST_TOKENS = 64;
const DEFAULT_MAX = 5;
const DEFAULT_MIN = 3;

/** @throws ArgumentError */
export function checkSpeculativeConfig(config: SpeculativeConfig): SpeculativeSettings {
  // Callers without types may give anything.
  if (typeof config !== 'object') {
    const example = "{ method: 'ngram', numSpeculativeTokens: 8 }";
    throw new ArgumentError(`speculativeConfig is ${shown(config)}.`, `Use an object such as ${example}.`);
  }
  const { method, numSpeculativeTokens } = config;
  if (!Object.keys(NAMES).some((known) => known === method)) {
    const problem = method === undefined ? ' has no method' : `.method is ${shown(method)}`;
    throw new ArgumentError(`speculativeConfig${problem}.`, "Use 'ngram', 'draft_model' or 'mtp'.");
  }
  const unknown = Object.entries(config).find(([name, value]) => value !== undefined && !NAMES[method].includes(name));
  if (unknown) {
    const problem = `speculativeConfig has '${unknown[0]}', which is no setting of '${method}'.`;
    throw new ArgumentError(problem, `Use ${NAMES[method].join(', ')}.`);
  }
  checkTokens('numSpeculativeTokens', numSpeculativeTokens);
  if (usesMtp(config)) return { method: 'mtp', numSpeculativeTokens };
  if (config.method === 'draft_model') {
    const { model } = config;
    if (typeof model === 'string' && model !== '') return { method: config.method, numSpeculativeTokens, model };
    throw new ArgumentError('speculativeConfig names no model.', 'Give a folder, GGUF file, bundled name or hub id.');
  }
  const { promptLookupMin, promptLookupMax } = config;
  if (promptLookupMin !== undefined) checkTokens('promptLookupMin', promptLookupMin);
  if (promptLookupMax !== undefined) checkTokens('promptLookupMax', promptLookupMax);
  const min = promptLookupMin ?? Math.min(DEFAULT_MIN, promptLookupMax ?? DEFAULT_MIN);
  const max = promptLookupMax ?? Math.max(DEFAULT_MAX, min);
  if (min > max) {
    throw new ArgumentError(
      `speculativeConfig.promptLookupMin is ${min}, more than promptLookupMax, ${max}.`,
      'Use at most as much.',
    );
  }
  return { method: config.method, numSpeculativeTokens, promptLookupMin: min, promptLookupMax: max };
}

/** Whether layers of the model itself guess. */
export function usesMtp(config: SpeculativeConfig | undefined): config is MtpConfig {
  return config?.method === 'mtp' || config?.method === 'nemotron_h_mtp';
}

function checkTokens(name: string, value: number): void {
  if (Number.isInteger(value) && value >= 1 && value <= MOST_TOKENS) return;
  const problem = value === undefined ? ` has no ${name}` : `.${name} is ${shown(value)}`;
  const hint = `Use a whole number of tokens from 1 to ${MOST_TOKENS}.`;
  throw new ArgumentError(`speculativeConfig${problem}.`, hint);
}
