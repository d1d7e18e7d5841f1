import { getOwn, isJsonObject, type JsonObject } from '../checkpoint/json/json.ts';
import type { ModelDefinition } from './causal-lm.ts';

/** Models that see or hear, and keep the config of their language model in a part of their own. */
const MULTIMODAL = [
  'NemotronH_Nano_VL_V2',
  'NemotronH_Nano_Omni_Reasoning_V3',
  'NemotronH_Super_Omni_Reasoning_V3',
] as const;

/** Where they keep it. */
const CONFIG_KEYS = ['llm_config', 'text_config'] as const;
const WEIGHTS_PREFIX = 'language_model.';

/** Names of multimodal models in `architectures` of which the language model is run. */
export const MULTIMODAL_ARCHITECTURES: readonly string[] = MULTIMODAL;

/** The config of a multimodal model's language model; undefined for any other model. */
export function languageModelConfig(json: JsonObject): JsonObject | undefined {
  const listed = getOwn(json, 'architectures');
  if (!Array.isArray(listed) || !MULTIMODAL.some((name) => listed.includes(name))) return undefined;
  return CONFIG_KEYS.map((key) => getOwn(json, key)).find(isJsonObject);
}

/** The names of a language model's weights without the prefix that a multimodal model puts before them. */
export function languageModelNames(stored: Iterable<string>): string[] {
  return [...stored].flatMap((name) => ownName(name) ?? []);
}

/** The language model as a part of the model around it, whose other weights are left out. */
export function asLanguageModel(definition: ModelDefinition, stored: ReadonlySet<string>): ModelDefinition {
  const others = [...stored].filter((name) => ownName(name) === undefined);
  return {
    ...definition,
    parameterName: (name) => {
      const own = ownName(name);
      return own === undefined ? undefined : definition.parameterName(own);
    },
    note:
      others.length === 0
        ? undefined
        : `Only the language model is loaded. ${others.length} tensors for pictures and sounds are left out, such as '${others[0]}'.`,
  };
}

function ownName(name: string): string | undefined {
  return name.startsWith(WEIGHTS_PREFIX) ? name.slice(WEIGHTS_PREFIX.length) : undefined;
}
