import { JsonFileError, MissingTensorError, ModelNotFoundError } from '../../errors.ts';
import type { ByteSource } from '../files/byte-source.ts';
import { WEIGHTS_FILE, WEIGHTS_INDEX_FILE } from '../files/file-names.ts';
import { type ModelFiles, readJsonFile } from '../files/model-files.ts';
import type { StoredTensor } from '../files/stored-tensor.ts';
import type { StoredWeights } from '../files/stored-weights.ts';
import { isFloatDType, SafetensorsFile, unreadableDType } from './safetensors.ts';
import type { TensorInfo } from './safetensors-header.ts';
import { parseWeightMap } from './weight-map.ts';

/**
 * Reads the headers of a model's safetensors files. Rejects with ModelNotFoundError where there are none, with
 * SafetensorsError and JsonFileError where they are malformed, and with MissingTensorError when a shard lacks a tensor
 * that the index puts there.
 */
export async function openSafetensors(files: ModelFiles, signal: AbortSignal | undefined): Promise<StoredWeights> {
  const { sources, weightMap } = await findWeights(files);
  const tensors = new Map<string, StoredTensor>();
  for (const [file, source] of sources) {
    signal?.throwIfAborted();
    const shard = await SafetensorsFile.open(source);
    for (const [name, info] of shard.tensors) {
      const other = tensors.get(name);
      if (other !== undefined) {
        throw new JsonFileError(
          `'${files.location}': tensor '${name}' is in both '${other.file}' and '${file}'.`,
          'Shards of different exports were mixed; download or convert the model again.',
        );
      }
      tensors.set(name, storedTensor(shard, info, file));
    }
  }
  for (const [name, file] of weightMap) {
    const found = tensors.get(name)?.file;
    if (found !== file) {
      throw new MissingTensorError(
        `'${files.location}': ${WEIGHTS_INDEX_FILE} puts tensor '${name}' in '${file}', but it is in ${found ? `'${found}'` : 'no shard'}.`,
        'The shards do not belong to this index; download or convert the model again.',
      );
    }
  }
  return { tensors, versions: [...sources.values()].flatMap(({ version }) => version ?? []) };
}

function storedTensor(
  shard: SafetensorsFile,
  { name, dtype, shape, begin, end }: TensorInfo,
  file: string,
): StoredTensor {
  return {
    dtype,
    shape,
    file,
    byteLength: end - begin,
    isSequential: shard.isSequential,
    problem: isFloatDType(dtype) ? undefined : unreadableDType(shard.name, name, dtype),
    readFloat32: (range, scratch) => shard.readFloat32(name, range, scratch),
    readBytes: (range, scratch) => shard.readBytes(name, range, scratch?.bytes),
  };
}

/** The weight files to read, and what an index says about them. */
interface Weights {
  readonly sources: ReadonlyMap<string, ByteSource>;
  readonly weightMap: ReadonlyMap<string, string>;
}

async function findWeights(files: ModelFiles): Promise<Weights> {
  const single = await files.open(WEIGHTS_FILE);
  if (single !== undefined) return { sources: new Map([[WEIGHTS_FILE, single]]), weightMap: new Map() };
  const index = await readJsonFile(files, WEIGHTS_INDEX_FILE);
  if (index !== undefined) return openShards(files, parseWeightMap(index, files.nameOf(WEIGHTS_INDEX_FILE)));
  const present = await files.list();
  const others = present.filter((file) => file.endsWith('.safetensors'));
  const only = others.length === 1 ? await files.open(others[0]) : undefined;
  if (only !== undefined) return { sources: new Map([[others[0], only]]), weightMap: new Map() };
  if (others.length > 1) {
    throw new ModelNotFoundError(
      `'${files.location}' holds ${others.length} safetensors files (${others.slice(0, 3).join(', ')}…) but no ${WEIGHTS_INDEX_FILE}.`,
      `Add the index, or rename the file to use to ${WEIGHTS_FILE}.`,
    );
  }
  if (present.some((file) => /^pytorch_model.*\.bin(\.index\.json)?$/.test(file))) {
    throw new ModelNotFoundError(
      `'${files.location}' holds its weights as pytorch_model*.bin, a pickle that only Python can read safely.`,
      "Convert it to safetensors: model.save_pretrained(folder, safe_serialization=True) in Python's transformers.",
    );
  }
  throw new ModelNotFoundError(
    `'${files.location}' holds no weights.`,
    `Expected ${WEIGHTS_FILE} or ${WEIGHTS_INDEX_FILE} with shards.`,
  );
}

async function openShards(files: ModelFiles, weightMap: ReadonlyMap<string, string>): Promise<Weights> {
  const names = [...new Set(weightMap.values())].sort();
  const sources = new Map<string, ByteSource>();
  const missing: string[] = [];
  for (const name of names) {
    const source = await files.open(name);
    if (source === undefined) missing.push(name);
    else sources.set(name, source);
  }
  if (missing.length > 0) {
    throw new ModelNotFoundError(
      `'${files.location}' lacks ${missing.length} of ${names.length} shards: ${missing.slice(0, 3).join(', ')}.`,
      'Download the missing files; an interrupted download resumes.',
    );
  }
  return { sources, weightMap };
}
