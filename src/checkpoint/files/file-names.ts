/** The model's architecture and sizes. */
export const CONFIG_FILE = 'config.json';

/** Settings of sampling, and the tokens that end an answer. */
export const GENERATION_CONFIG_FILE = 'generation_config.json';

/** Weights in one file. */
export const WEIGHTS_FILE = 'model.safetensors';

/** Names the file of each tensor, where weights are in several files. */
export const WEIGHTS_INDEX_FILE = 'model.safetensors.index.json';

/** Files in which tools say how they quantised the weights: ModelOpt, AutoGPTQ and AutoAWQ. */
export const QUANTIZATION_FILES = ['hf_quant_config.json', 'quantize_config.json', 'quant_config.json'] as const;

/** The small files that a model needs besides its weights. */
export const SMALL_FILES: readonly string[] = [
  CONFIG_FILE,
  GENERATION_CONFIG_FILE,
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
  'additional_chat_templates/tool_use.jinja',
  'chat_template.json',
  ...QUANTIZATION_FILES,
];
