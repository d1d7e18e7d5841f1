import type { StoredTensor } from '../files/stored-tensor.ts';
import { getOwn, isJsonObject, type JsonObject, type JsonValue } from '../json/json.ts';

/** Names of the scales of keys and of values. */
const SCALE = /\.(?:k|v|kv)_scale$/;

/** What a tool says of the keys and values of attention layers. */
export interface QuantizedCaches {
  /** Whether the model was made for keys and values in E4M3. */
  readonly isFp8: boolean;
  /** Scales of keys and of values, by their names. */
  readonly scales: ReadonlyMap<string, StoredTensor>;
}

/**
 * Reads what settings say of keys and values: ModelOpt's `kv_cache_quant_algo`, and the `kv_cache_scheme` of
 * compressed-tensors and of ModelOpt. Schemes other than floats of 8 bits with a scale for a whole layer count as none, for
 * float32 holds more.
 */
export function quantizedCaches(settings: JsonObject, stored: ReadonlyMap<string, StoredTensor>): QuantizedCaches {
  return {
    isFp8: cachesAreFp8(settings),
    scales: new Map([...stored].filter(([name]) => SCALE.test(name))),
  };
}

/** Whether settings are for keys and values alone: those of ModelOpt and compressed-tensors name no format of weights then. */
export function areOfCachesAlone(settings: JsonObject): boolean {
  const [algorithm, groups] = [getOwn(settings, 'quant_algo'), getOwn(settings, 'config_groups')];
  const hasGroups = isJsonObject(groups) && Object.keys(groups).length > 0;
  return cachesAreFp8(settings) && typeof algorithm !== 'string' && !hasGroups;
}

function cachesAreFp8(settings: JsonObject): boolean {
  const algorithm = getOwn(settings, 'kv_cache_quant_algo');
  const isNamed = typeof algorithm === 'string' && algorithm.toUpperCase() === 'FP8';
  return isNamed || isFloat8(getOwn(settings, 'kv_cache_scheme'));
}

function isFloat8(scheme: JsonValue | undefined): boolean {
  if (!isJsonObject(scheme)) return false;
  const [type, strategy] = [getOwn(scheme, 'type') ?? 'float', getOwn(scheme, 'strategy') ?? 'tensor'];
  return type === 'float' && strategy === 'tensor' && getOwn(scheme, 'num_bits') === 8;
}
