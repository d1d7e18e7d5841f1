import { ConfigError } from '../errors.ts';
import type { Checkpoint } from './checkpoint.ts';
import { QUANTIZATION_FILES } from './files/file-names.ts';
import { readJsonFile } from './files/model-files.ts';
import { isJsonObject, type JsonObject, type JsonValue } from './json/json.ts';

/** Keys of config.json under which tools say how they quantised the weights; `quantization` is MLX's. */
const CONFIG_KEYS = ['quantization_config', 'compression_config', 'quantization'] as const;

/**
 * Refuses weights that a tool has quantised, by the key or file that says so: without its scales they mean nothing.
 * @throws ConfigError
 */
export async function refuseQuantized(checkpoint: Checkpoint): Promise<void> {
  for (const key of CONFIG_KEYS) {
    const value = Object.hasOwn(checkpoint.config, key) ? checkpoint.config[key] : undefined;
    if (isSaid(value)) refuse(`config.json: ${key}`, value);
  }
  // A file alone says nothing of weights that can be read as they are.
  if (checkpoint.names().every((name) => checkpoint.tensor(name).problem === undefined)) return;
  for (const file of QUANTIZATION_FILES) {
    const json = await readJsonFile(checkpoint.files, file);
    if (json !== undefined) refuse(file, isJsonObject(json.quantization) ? json.quantization : json);
  }
}

/** Whether a key says anything: null, false and {} do not. */
function isSaid(value: JsonValue | undefined): value is JsonObject | string {
  return typeof value === 'string' || (isJsonObject(value) && Object.keys(value).length > 0);
}

function refuse(where: string, value: JsonObject | string): never {
  throw new ConfigError(
    `${where}${method(value)} is not read: a tool has quantized these weights.`,
    'Use the unquantized repository; dtype int8 or int4 quantizes its weights while they are loaded.',
  );
}

/** Name of the quantisation method, if the entry has one. */
function method(value: JsonObject | string): string {
  if (typeof value === 'string') return ` '${value}'`;
  const names = ['quant_method', 'quant_algo', 'format', 'mode'].map((key) => value[key]);
  const name = names.find((found) => typeof found === 'string');
  if (name !== undefined) return ` '${name}'`;
  return typeof value.bits === 'number' ? ` of ${value.bits} bits` : '';
}
