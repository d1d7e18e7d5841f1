import { ConfigError } from '../../errors.ts';
import { CONFIG_FILE, QUANTIZATION_FILES } from '../files/file-names.ts';
import { type ModelFiles, readJsonFile } from '../files/model-files.ts';
import { ConfigReader } from '../json/config-reader.ts';
import { getOwn, isJsonObject, type JsonObject, type JsonValue } from '../json/json.ts';
import { awqMethod } from './methods/awq.ts';
import { bitsAndBytesMethod } from './methods/bitsandbytes.ts';
import { compressedTensorsMethod } from './methods/compressed-tensors.ts';
import { fp8Method } from './methods/fp8.ts';
import { gptqMethod } from './methods/gptq.ts';
import { mlxMethod } from './methods/mlx.ts';
import { modelOptMethod } from './methods/modelopt.ts';
import type { QuantizationMethod } from './weights/quantization-method.ts';

/** What a model's files say of the quantisation of its weights. */
export interface QuantizationSettings {
  /** File and key. */
  readonly where: string;
  /** Name of the method, as written or as told by the keys; `mlx` for MLX. */
  readonly method: string;
  readonly json: JsonObject;
}

/** Keys of config.json under which tools say how they quantised the weights; `quantization` is MLX's, which writes both. */
const CONFIG_KEYS = ['quantization', 'quantization_config', 'compression_config'] as const;

/**
 * The settings in config.json, or in a file beside it.
 * @param isReadable whether all weights can be read as they are: then a file alone says nothing of them.
 */
export async function findSettings(
  files: ModelFiles,
  config: JsonObject,
  isReadable: boolean,
): Promise<QuantizationSettings | undefined> {
  for (const key of CONFIG_KEYS) {
    const value = getOwn(config, key);
    const where = `${CONFIG_FILE}: ${key}`;
    if (typeof value === 'string') return { where, method: value, json: {} };
    if (!isJsonObject(value) || Object.keys(value).length === 0) continue;
    const json = unwrapped(value);
    return { where, method: methodOf(json, KEY_METHODS[key]), json };
  }
  if (isReadable) return undefined;
  for (const file of QUANTIZATION_FILES) {
    const whole = await readJsonFile(files, file);
    if (whole === undefined) continue;
    const json = unwrapped(whole);
    return { where: file, method: methodOf(json, FILE_METHODS[file]), json };
  }
  return undefined;
}

/** Methods by the keys that only one tool writes. */
const KEY_METHODS: Readonly<Partial<Record<(typeof CONFIG_KEYS)[number], string>>> = {
  quantization: 'mlx',
  compression_config: 'compressed-tensors',
};

/** Methods by the files that only one tool writes. */
const FILE_METHODS: Readonly<Record<(typeof QUANTIZATION_FILES)[number], string>> = {
  'hf_quant_config.json': 'modelopt',
  'quantize_config.json': 'gptq',
  'quant_config.json': 'awq',
};

/** ModelOpt puts its settings into `quantization`, and compressed-tensors of old into `quantization_config`. */
function unwrapped(json: JsonObject): JsonObject {
  for (const key of ['quantization', 'quantization_config']) {
    const inner = getOwn(json, key);
    if (isJsonObject(inner)) return { ...json, ...inner };
  }
  return json;
}

function methodOf(json: JsonObject, fallback: string | undefined): string {
  const isText = (value: JsonValue | undefined) => typeof value === 'string';
  const named = getOwn(json, 'quant_method');
  if (typeof named === 'string') return named;
  if (isText(getOwn(json, 'quant_algo'))) return 'modelopt';
  if (isJsonObject(getOwn(json, 'config_groups'))) return 'compressed-tensors';
  if (getOwn(json, 'load_in_4bit') === true || getOwn(json, 'load_in_8bit') === true) return 'bitsandbytes';
  if (fallback !== undefined) return fallback;
  if (typeof getOwn(json, 'bits') === 'number' && typeof getOwn(json, 'group_size') === 'number') return 'mlx';
  const name = ['format', 'mode'].map((key) => getOwn(json, key)).find(isText);
  return typeof name === 'string' ? name : '';
}

/** @throws ConfigError for a method that is not read, or settings that contradict each other. */
export function createMethod({ where, method, json }: QuantizationSettings): QuantizationMethod {
  const config = new ConfigReader(json, where);
  const name = method.toLowerCase();
  if (name.startsWith('modelopt')) return modelOptMethod(config);
  switch (name) {
    case 'fp8':
    case 'fbgemm_fp8':
      return fp8Method(config, name);
    case 'compressed-tensors':
      return compressedTensorsMethod(config);
    case 'gptq':
      return gptqMethod(config);
    case 'awq':
      return awqMethod(config);
    case 'bitsandbytes':
      return bitsAndBytesMethod(config);
    case 'mlx':
      return mlxMethod(config);
    default:
      throw new ConfigError(
        `${where}${method === '' ? '' : ` '${method}'`} is not read: a tool has quantized these weights.`,
        'Use the unquantized repository; dtype int8 or int4 quantizes its weights while they are loaded.',
      );
  }
}
