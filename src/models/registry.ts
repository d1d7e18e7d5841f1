import { getOwn, type JsonObject } from '../checkpoint/json/json.ts';
import { ArgumentError, ConfigError, UnsupportedArchitectureError } from '../errors.ts';
import { bamba } from './bamba.ts';
import type { Architecture, DefineOptions, ModelDefinition } from './causal-lm.ts';
import { falconH1 } from './falcon-h1.ts';
import { graniteMoeHybrid } from './granite-moe-hybrid.ts';
import {
  asLanguageModel,
  languageModelConfig,
  languageModelNames,
  MULTIMODAL_ARCHITECTURES,
} from './language-model.ts';
import { mamba2 } from './mamba2.ts';
import { nemotronH } from './nemotron-h.ts';
import { plamo2 } from './plamo2.ts';
import { assertLayersStored } from './stored-layers.ts';
import { untied, withTiedHead } from './tied-head.ts';
import { zamba2 } from './zamba2.ts';

const ARCHITECTURES: readonly Architecture[] = [mamba2, bamba, falconH1, graniteMoeHybrid, nemotronH, zamba2, plamo2];

/**
 * Names that config.json's `architectures` may hold.
 *
 * @example
 * ```ts
 * console.log(supportedArchitectures().includes('FalconH1ForCausalLM')); // true
 * ```
 */
export function supportedArchitectures(): string[] {
  return [...ARCHITECTURES.flatMap(({ names }) => names), ...MULTIMODAL_ARCHITECTURES];
}

/**
 * The model that a config.json describes; found by `architectures`, or by its other fields where that is missing.
 * @param stored names of the checkpoint's tensors, where there is one.
 * @throws ArgumentError when layers for multi-token prediction are asked for, and there are none.
 */
export function defineModel(
  json: JsonObject,
  stored: Iterable<string> = [],
  options: DefineOptions = {},
): ModelDefinition {
  const inner = languageModelConfig(json);
  if (inner) {
    const names = new Set(stored);
    return asLanguageModel(defineModel(inner, languageModelNames(names), options), names);
  }
  const listed = getOwn(json, 'architectures');
  const names = Array.isArray(listed) ? listed : [];
  const found =
    names.length > 0
      ? ARCHITECTURES.find((architecture) => architecture.names.some((name) => names.includes(name)))
      : ARCHITECTURES.find((architecture) => architecture.recognizes(json));
  if (found) {
    const names = new Set(stored);
    const definition = found.define(options.untieHead ? untied(json) : json, names, options);
    if (options.mtp) assertPredicts(definition, names);
    assertLayersStored(definition.config.numHiddenLayers, names);
    return withTiedHead(definition, names);
  }
  const asked =
    names.length > 0 ? names.join(', ') : `model_type ${JSON.stringify(getOwn(json, 'model_type') ?? null)}`;
  throw new UnsupportedArchitectureError(
    `config.json asks for ${asked}, which is not supported.`,
    `Supported: ${supportedArchitectures().join(', ')}.`,
  );
}

/** Whether a checkpoint has layers for multi-token prediction that can be loaded. */
export function canPredict(json: JsonObject, stored: Iterable<string>): boolean {
  try {
    return defineModel(json, stored, { mtp: true }).predicts === true;
  } catch (error) {
    if (error instanceof ArgumentError || error instanceof ConfigError) return false;
    throw error;
  }
}

/** @throws ArgumentError */
function assertPredicts({ predicts }: ModelDefinition, stored: ReadonlySet<string>): void {
  const isStored = stored.size === 0 || [...stored].some((name) => name.startsWith('mtp.'));
  if (predicts && isStored) return;
  throw new ArgumentError(
    predicts
      ? "config.json has layers for multi-token prediction, but the checkpoint holds no tensors 'mtp.*'."
      : 'The model has no layers for multi-token prediction.',
    "Use speculativeConfig.method 'ngram' or 'draft_model', or the checkpoint with these layers.",
  );
}
