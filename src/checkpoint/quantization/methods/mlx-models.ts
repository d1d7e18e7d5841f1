import { ConfigError } from '../../../errors.ts';
import type { StoredTensor } from '../../files/stored-tensor.ts';
import { reshaped, rowsOf, stacked, stackedPerMatrix } from '../../files/tensor-views.ts';
import { getOwn, type JsonObject, type JsonValue } from '../../json/json.ts';
import type { Restored } from '../weights/quantization-method.ts';

/**
 * Names, shapes and factors that MLX changes when it converts a model, as they were: convolutions are (channels, taps, 1), of
 * experts and feed-forward layers gate and up are tensors of their own, experts are stacked, and Falcon-H1's multipliers are
 * in the weights.
 */
export function restoreMlxModel(tensors: ReadonlyMap<string, StoredTensor>, config: JsonObject): Restored {
  const isGranite = getOwn(config, 'model_type') === 'granitemoehybrid';
  const restored = new Map<string, StoredTensor>();
  const isConverted = isMlxModel(tensors);
  for (const [name, tensor] of tensors) {
    if (isMlxConvolution(name, tensor)) {
      const [channels, taps] = tensor.shape;
      restored.set(name, reshaped(tensor, [channels, 1, taps]));
      continue;
    }
    for (const [as, view] of restoreTensor(name, tensor, tensors, isGranite)) restored.set(as, view);
  }
  const isFalcon = getOwn(config, 'model_type') === 'falcon_h1';
  return { tensors: restored, config: isFalcon && isConverted ? withoutMultipliers(config) : config };
}

/** Whether MLX has converted a model: all that are read here have convolutions, and their shape tells. */
export function isMlxModel(tensors: ReadonlyMap<string, StoredTensor>): boolean {
  return [...tensors].some(([name, tensor]) => isMlxConvolution(name, tensor));
}

function isMlxConvolution(name: string, { shape: [, taps, last], shape }: StoredTensor): boolean {
  return name.endsWith('conv1d.weight') && shape.length === 3 && last === 1 && taps > 1;
}

type Named = readonly [name: string, tensor: StoredTensor];

function restoreTensor(
  name: string,
  tensor: StoredTensor,
  tensors: ReadonlyMap<string, StoredTensor>,
  isGranite: boolean,
): Named[] {
  const experts = /^(?<layer>.*\.mixer)\.switch_mlp\.(?<part>fc1|fc2)\.weight$/.exec(name)?.groups;
  if (experts !== undefined && tensor.shape.length === 3) {
    const part = experts.part === 'fc1' ? 'up_proj' : 'down_proj';
    const [count, ...matrix] = tensor.shape;
    return Array.from({ length: count }, (_, e) => [
      `${experts.layer}.experts.${e}.${part}.weight`,
      reshaped(rowsOf(tensor, e, 1), matrix),
    ]);
  }
  const gated = isGranite ? gatedLayer(name) : undefined;
  if (gated === undefined) return [[name, tensor]];
  if (gated.part === 'down') return [[`${gated.as}.output_linear.weight`, tensor]];
  const [gate, up] = ['gate', 'up'].map((part) => tensors.get(`${gated.stored}.${part}_proj.weight`));
  // One without the other stays as it is: the model will miss the other by name.
  if (gate === undefined || up === undefined) return [[name, tensor]];
  if (gated.part === 'up') return [];
  const join = tensor.shape.length === 3 ? stackedPerMatrix : stacked;
  return [[`${gated.as}.input_linear.weight`, join([gate, up])]];
}

/** A part of Granite's experts, or of its feed-forward layer in a model without experts. */
function gatedLayer(name: string): { stored: string; as: string; part: string } | undefined {
  const found =
    /^(?<layer>.*\.block_sparse_moe)\.switch_mlp\.(?<part>gate|up|down)_proj\.weight$/.exec(name)?.groups ??
    /^(?<layer>model\.layers\.\d+)\.mlp\.(?<part>gate|up|down)_proj\.weight$/.exec(name)?.groups;
  if (found === undefined) return undefined;
  const { layer, part } = found;
  return layer.endsWith('.block_sparse_moe')
    ? { stored: `${layer}.switch_mlp`, as: layer, part }
    : { stored: `${layer}.mlp`, as: `${layer}.shared_mlp`, part };
}

/**
 * Falcon-H1's config without the multipliers that are in the weights. MLX leaves out that of keys, and multiplies queries and
 * keys but not values by that of attention's input.
 * @throws ConfigError where values would be another's.
 */
function withoutMultipliers(config: JsonObject): JsonObject {
  const number = (key: string) => {
    const value: JsonValue | undefined = getOwn(config, key);
    return typeof value === 'number' ? value : 1;
  };
  if (number('attention_in_multiplier') !== 1) {
    throw new ConfigError(
      `config.json: 'attention_in_multiplier' is ${number('attention_in_multiplier')}, which MLX puts into some of the weights only.`,
      'Use the repository that was not converted by MLX.',
    );
  }
  const isTied = getOwn(config, 'tie_word_embeddings') === true;
  return {
    ...config,
    embedding_multiplier: 1,
    // A tied head is the table of embeddings, with their multiplier.
    lm_head_multiplier: isTied ? number('lm_head_multiplier') / number('embedding_multiplier') : 1,
    attention_out_multiplier: 1,
    ssm_in_multiplier: 1,
    ssm_out_multiplier: 1,
    ssm_multipliers: [1, 1, 1, 1, 1],
    mlp_multipliers: [1, 1],
  };
}
