import { Mamba2Error, UnexpectedTensorError } from '../../errors.ts';
import type { ModelFiles } from '../files/model-files.ts';
import type { StoredTensor } from '../files/stored-tensor.ts';
import type { StoredWeights } from '../files/stored-weights.ts';
import type { JsonObject } from '../json/json.ts';
import { isMlxModel, restoreMlxModel } from './methods/mlx-models.ts';
import { createMethod, findSettings, type QuantizationSettings } from './quantization-settings.ts';
import { areOfCachesAlone, type QuantizedCaches, quantizedCaches } from './quantized-caches.ts';
import type { QuantizationMethod } from './weights/quantization-method.ts';
import { QuantizedModule } from './weights/quantized-module.ts';
import type { QuantizedTensor } from './weights/quantized-tensor.ts';

/** What is known of a checkpoint whose files say that a tool has quantised its weights. */
export interface CheckpointQuantization {
  /** Name of the method. */
  readonly method: string;
  /** Why the weights can't be read. Their tensors are then listed as they are stored. */
  readonly problem: Mamba2Error | undefined;
  readonly warnings: readonly string[];
  /** Biases of zeros that the tool gives every layer, also where the model has none. */
  readonly zeroBiases: ReadonlySet<string>;
  /** What the tool says of keys and values. */
  readonly caches: QuantizedCaches;
}

/**
 * Scales of activations, which are float32, and of keys and values, which are none of the weights. Stacks of experts write
 * them with `_`.
 */
const UNUSED =
  /[._](?:input_scale|input_global_scale|input_zero_point|input_scale_ub|activation_scale|output_scale|output_zero_point|prob_scale|[qkv]_scale|kv_scale|[qkv]_zero_point)$/;

/** Weights that are opened at a time: a few methods read a little of each. */
const OPENED_TOGETHER = 16;

/** Weights and config of a model whose weights a tool may have quantised. */
export interface QuantizedContents {
  readonly weights: StoredWeights;
  /** config.json, without what the tool has put into the weights. */
  readonly config: JsonObject;
  readonly quantization: CheckpointQuantization | undefined;
}

/** The weights of a model with those that a tool has quantised as the floats that they stand for. */
export async function openQuantized(
  files: ModelFiles,
  config: JsonObject,
  weights: StoredWeights,
): Promise<QuantizedContents> {
  const isReadable = [...weights.tensors].every(([name, { problem }]) => problem === undefined && !UNUSED.test(name));
  const settings = await findSettings(files, config, isReadable);
  if (settings === undefined) return { ...unquantized(weights, config), quantization: undefined };
  const caches = quantizedCaches(settings.json, weights.tensors);
  try {
    const method = createMethod(settings);
    const { tensors, warnings, zeroBiases } = await openAll(method, settings, weights.tensors);
    const restored = method.restore?.(tensors, config) ?? { tensors, config };
    return {
      weights: { ...weights, tensors: restored.tensors },
      config: restored.config,
      quantization: { method: method.name, problem: undefined, warnings, zeroBiases, caches },
    };
  } catch (error) {
    if (!(error instanceof Mamba2Error)) throw error;
    return {
      weights,
      config,
      quantization: { method: settings.method, problem: error, warnings: [], zeroBiases: NONE, caches },
    };
  }
}

/** A model whose weights are floats, in the layout that MLX has changed if it was converted by it. */
function unquantized(weights: StoredWeights, config: JsonObject): Pick<QuantizedContents, 'weights' | 'config'> {
  if (!isMlxModel(weights.tensors)) return { weights, config };
  const restored = restoreMlxModel(weights.tensors, config);
  return { weights: { ...weights, tensors: restored.tensors }, config: restored.config };
}

interface Opened {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly warnings: readonly string[];
  readonly zeroBiases: ReadonlySet<string>;
}

const NONE: ReadonlySet<string> = new Set();

async function openAll(
  method: QuantizationMethod,
  { where, json }: QuantizationSettings,
  stored: ReadonlyMap<string, StoredTensor>,
): Promise<Opened> {
  const modules = [...stored].flatMap(([name, tensor]) => {
    const place = method.place(name, tensor);
    return place === undefined ? [] : [new QuantizedModule(place, { name, tensor }, stored)];
  });
  if (modules.length === 0) {
    const warning = `${where} speaks of quantized weights, but none of them is stored as codes; they are read as they are.`;
    const warnings = areOfCachesAlone(json) ? [] : [warning];
    return { tensors: replaced(stored, modules, new Map()), warnings, zeroBiases: NONE };
  }
  for (const { prefix, codesName } of modules) method.exclusions?.assertIncluded(prefix, codesName);
  const opened = new Map<string, QuantizedTensor>();
  for (let begin = 0; begin < modules.length; begin += OPENED_TOGETHER) {
    const some = modules.slice(begin, begin + OPENED_TOGETHER);
    const tensors = await Promise.all(some.map(async (module) => method.open(module)));
    for (const [i, { codesName }] of some.entries()) opened.set(codesName, tensors[i]);
  }
  const warnings = method.exclusions?.check(layerNames(stored.keys())) ?? [];
  const zeroBiases = method.addsBiases ? await biasesOfZeros(modules, stored) : NONE;
  return { tensors: replaced(stored, modules, opened), warnings, zeroBiases };
}

async function biasesOfZeros(
  modules: readonly QuantizedModule[],
  stored: ReadonlyMap<string, StoredTensor>,
): Promise<ReadonlySet<string>> {
  const zeros = new Set<string>();
  for (const { prefix } of modules) {
    const values = await stored.get(`${prefix}.bias`)?.readFloat32();
    if (values?.every((value) => value === 0)) zeros.add(`${prefix}.bias`);
  }
  return zeros;
}

/** The tensors, in their order, with weights in the places of their codes and without what belongs to these. */
function replaced(
  stored: ReadonlyMap<string, StoredTensor>,
  modules: readonly QuantizedModule[],
  opened: ReadonlyMap<string, QuantizedTensor>,
): Map<string, StoredTensor> {
  const used = new Set(modules.flatMap(({ usedNames }) => [...usedNames]));
  const names = new Map(modules.map(({ codesName, weight }) => [codesName, weight]));
  const tensors = new Map<string, StoredTensor>();
  for (const [name, tensor] of stored) {
    const weight = names.get(name);
    if (weight === undefined) {
      if (!used.has(name) && !UNUSED.test(name)) tensors.set(name, tensor);
      continue;
    }
    if (weight !== name && stored.has(weight)) {
      throw new UnexpectedTensorError(
        `The checkpoint holds both '${name}' and '${weight}'.`,
        'Weights of different exports were mixed; download or quantize the model again.',
      );
    }
    tensors.set(weight, opened.get(name) ?? tensor);
  }
  return tensors;
}

/** Names of the layers that have weights, and of those around them. */
function layerNames(tensors: Iterable<string>): string[] {
  const layers = new Set<string>();
  for (const name of tensors) {
    for (let end = name.lastIndexOf('.'); end > 0; end = name.lastIndexOf('.', end - 1)) layers.add(name.slice(0, end));
    // Stacks of experts are named without the word `weight`.
    layers.add(name);
  }
  return [...layers];
}
