import type { Checkpoint } from '../../checkpoint/checkpoint.ts';
import { ModelMismatchError } from '../../errors.ts';
import type { ModelConfig } from '../../models/causal-lm.ts';
import { isBlockFormat, type MatrixDType } from '../../tensor/block-formats.ts';
import type { KvCacheDType } from '../../tensor/kv-cache-dtype.ts';
import { type StateStorage, storageName } from '../../tensor/state-dtype.ts';
import { Hash } from '../../util/hash.ts';

/** Form in which a model is held: other roundings make other states. */
export interface ModelForm {
  /** Dtype of the projections in memory. */
  readonly dtype: MatrixDType;
  /** Storage of SSM states, unless that is float32. */
  readonly states?: string | undefined;
  /** Dtype of keys and values, unless that is float32. */
  readonly kvCache?: string | undefined;
}

/** What decides on a loaded model's form. */
export interface LoadedForm {
  readonly dtype: MatrixDType;
  readonly states: StateStorage;
  readonly kvCacheDtype: KvCacheDType | undefined;
}

export function formOf({ dtype, states, kvCacheDtype }: LoadedForm): ModelForm {
  return { dtype, states: storageName(states), kvCache: kvCacheDtype === 'float32' ? undefined : kvCacheDtype };
}

/** Distinguishes loaded models: a state has a meaning only in the model that made it. */
export interface ModelIdentity extends ModelForm {
  readonly architecture: string;
  /** Hash of all sizes and options. */
  readonly configHash: string;
  /** Hash of the names, shapes and dtypes of all weights, and of some of their values. */
  readonly weightsHash: string;
}

/** An identity as a file states it: its dtype may be one that this version does not know. */
export type StatedIdentity = Readonly<Record<Exclude<keyof ModelIdentity, 'states' | 'kvCache'>, string>> &
  Pick<ModelForm, 'states' | 'kvCache'>;

/** Tensors of which some values are read. Another training changes all, so a few tell. */
const SAMPLED_TENSORS = 16;

/**
 * Reads a row each of some tensors of an open checkpoint, and of some scales of keys and values where these have a use.
 * @param sampledTensors how many of each, at most. All tell a training that left most of them as they were from the one before.
 */
export async function identifyModel(
  checkpoint: Checkpoint,
  config: ModelConfig,
  { dtype, states, kvCache }: ModelForm,
  sampledTensors = SAMPLED_TENSORS,
): Promise<ModelIdentity> {
  const names = checkpoint.names().sort();
  const hash = new Hash();
  for (const name of names) {
    const { shape, dtype: stored } = checkpoint.info(name);
    hash.addText(`${name}:${stored}:${shape.join(',')};`);
  }
  const tensors = names.map((name) => checkpoint.tensor(name)).filter(({ problem }) => problem === undefined);
  // Keys and values in E4M3 are divided by them.
  const scales = kvCache === 'fp8_e4m3' ? checkpoint.quantization?.caches.scales : undefined;
  const scaleNames = [...(scales?.keys() ?? [])].sort();
  for (const name of scaleNames) hash.addText(`${name};`);
  const ofCaches = scaleNames.flatMap((name) => scales?.get(name) ?? []);
  const sampled = [tensors, ofCaches].flatMap((all) => sampleOf(all, sampledTensors));
  const rows = await Promise.all(
    sampled.map(async (tensor) => {
      const [count = 1] = tensor.shape;
      const row = await tensor.readFloat32({ firstRow: Math.floor(count / 2), rows: Math.min(count, 1) });
      tensor.release?.();
      return row;
    }),
  );
  for (const row of rows) hash.addBytes(new Uint8Array(row.buffer, row.byteOffset, row.byteLength));
  const configHash = new Hash();
  configHash.addText(JSON.stringify(config));
  const hashes = { configHash: `${configHash}`, weightsHash: `${hash}` };
  return { architecture: config.architecture, ...hashes, dtype, states, kvCache };
}

/** Some of the items, at equal distances. */
function sampleOf<T>(all: readonly T[], most: number): T[] {
  const stride = Math.max(1, Math.ceil(all.length / most));
  return all.filter((_, i) => i % stride === 0);
}

/** @throws ModelMismatchError that says what differs. */
export function assertSameModel(found: StatedIdentity, expected: ModelIdentity): void {
  const complain = (difference: string, hint: string) => {
    throw new ModelMismatchError(`The session belongs to another model: ${difference}.`, hint);
  };
  if (found.architecture !== expected.architecture) {
    complain(
      `its architecture is ${found.architecture}, this model's is ${expected.architecture}`,
      'Load the model that made it.',
    );
  }
  if (found.configHash !== expected.configHash) {
    const hint =
      "Load the model that made it. If it guessed by its own layers (speculativeConfig 'mtp'), load it so again.";
    complain('its config has other sizes or options', hint);
  }
  if (found.weightsHash !== expected.weightsHash) {
    complain('its weights are not the same', 'Load the checkpoint that made it.');
  }
  if (found.dtype !== expected.dtype) {
    complain(
      `its weights were loaded as ${found.dtype}, this model's as ${expected.dtype}`,
      isBlockFormat(found.dtype)
        ? "Load the file with dtype 'auto' on the device that made the session."
        : `Load this model with dtype '${found.dtype}'.`,
    );
  }
  if (found.states !== expected.states) {
    const [dtype, rounding = 'nearest'] = (found.states ?? 'float32').split('-');
    complain(
      `its states are ${found.states ?? 'float32'}, this model's are ${expected.states ?? 'float32'}`,
      `Load this model with stateDtype '${dtype}' and stateRounding '${rounding}'.`,
    );
  }
  if (found.kvCache !== expected.kvCache) {
    const [own, other] = [found.kvCache ?? 'float32', expected.kvCache ?? 'float32'];
    complain(
      `its keys and values are ${own}, this model's are ${other}`,
      `Load this model with kvCacheDtype '${own}'.`,
    );
  }
}
