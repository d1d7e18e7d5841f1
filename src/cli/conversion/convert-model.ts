import { mkdir, open, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ReferenceBackend } from '../../backends/reference/reference-backend.ts';
import { Checkpoint } from '../../checkpoint/checkpoint.ts';
import { CONFIG_FILE, QUANTIZATION_FILES, SMALL_FILES, WEIGHTS_FILE } from '../../checkpoint/files/file-names.ts';
import type { ModelFiles } from '../../checkpoint/files/model-files.ts';
import { ReadScratch } from '../../checkpoint/files/read-scratch.ts';
import type { StoredTensor } from '../../checkpoint/files/stored-tensor.ts';
import type { JsonObject } from '../../checkpoint/json/json.ts';
import { singleProcess } from '../../distributed/process-group.ts';
import { headerCheck } from '../../engine/weights/header-check.ts';
import { BLOCK_VALUES, matchNames } from '../../engine/weights/load-weights.ts';
import { hasOwnHead } from '../../engine/weights/stored-head.ts';
import { LayerContext } from '../../layers/parameters/layer-context.ts';
import { isMatrixRole, ParameterTable } from '../../layers/parameters/parameter.ts';
import { canPredict, defineModel } from '../../models/registry.ts';
import { float16Bits } from '../../tensor/float16.ts';
import { roundWeight } from '../../tensor/quantize.ts';
import { elementCount } from '../../tensor/tensor.ts';
import { groupBy } from '../../util/group-by.ts';
import { UsageError } from '../options/usage-error.ts';
import { type ConvertedDType, type PackedForm, packedForm, packRows, upperHalves } from './matrix-encoder.ts';
import { type PlannedTensor, TensorFile } from './tensor-file.ts';

export interface ConvertOptions {
  readonly dtype: ConvertedDType;
  /** Folder to make. */
  readonly out: string;
  readonly signal?: AbortSignal | undefined;
  /** Told of values that are written. */
  readonly onValues?: ((done: number, total: number) => void) | undefined;
}

/** What a conversion has written. */
export interface Conversion {
  readonly bytes: number;
  /** Matrices whose columns no groups divide: they have the values of the dtype, as float32. */
  readonly unpacked: readonly string[];
}

/** A weight of the model and the tensors that it becomes. */
interface PlannedWeight {
  readonly name: string;
  readonly tensor: StoredTensor;
  /** Dtype that its values are rounded to; undefined: they stay. */
  readonly rounded: ConvertedDType | undefined;
  readonly form: PackedForm | undefined;
  readonly written: readonly PlannedTensor[];
}

/**
 * Writes a model with weights of another dtype, as a folder of Hugging Face's layout, and closes its files. Matrices of int8
 * and int4 lie in compressed-tensors' `pack-quantized` format. Values are those that the dtype has in memory on one rank, bit
 * for bit. Of the weights, only a block is in memory at a time.
 */
export async function convertModel(files: ModelFiles, options: ConvertOptions): Promise<Conversion> {
  const checkpoint = await Checkpoint.open(files, { signal: options.signal });
  try {
    if (checkpoint.quantization?.problem) throw checkpoint.quantization.problem;
    await assertFree(options.out);
    const { weights, config } = await planWeights(checkpoint, options);
    await mkdir(options.out, { recursive: true });
    const bytes = await writeWeights(weights, options);
    for (const name of SMALL_FILES) {
      const isOwn = name === CONFIG_FILE || QUANTIZATION_FILES.some((file) => file === name);
      const text = isOwn ? undefined : await checkpoint.files.readText(name);
      if (text === undefined) continue;
      await mkdir(dirname(join(options.out, name)), { recursive: true });
      await writeFile(join(options.out, name), text);
    }
    // Last: without it the folder is no model.
    await writeFile(join(options.out, CONFIG_FILE), pythonJson(config));
    const unpacked = weights.filter(({ rounded, form }) => rounded !== undefined && rounded !== 'bfloat16' && !form);
    return { bytes, unpacked: unpacked.map(({ name }) => name) };
  } finally {
    await checkpoint.close();
  }
}

/** @throws UsageError where files would be mixed with others. */
async function assertFree(folder: string): Promise<void> {
  const entries = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw new UsageError(`--out '${folder}' can't be a folder: ${error.message}.`, 'Give another.');
  });
  if (entries.length === 0) return;
  throw new UsageError(`--out '${folder}' is not empty.`, 'Give a folder that does not exist yet.');
}

async function planWeights(
  checkpoint: Checkpoint,
  { dtype, signal }: ConvertOptions,
): Promise<{ weights: PlannedWeight[]; config: JsonObject }> {
  const asWritten = defineModel(checkpoint.config, checkpoint.names());
  const untieHead = await hasOwnHead(asWritten, checkpoint, signal ? { signal } : {});
  const mtp = canPredict(checkpoint.config, checkpoint.names());
  const definition = defineModel(checkpoint.config, checkpoint.names(), { untieHead, mtp });
  const check = headerCheck(definition, checkpoint);
  const table = new ParameterTable(
    definition.create(new LayerContext(new ReferenceBackend(), singleProcess, 'float32', { check })),
  );
  const weights: PlannedWeight[] = [];
  const routers: string[] = [];
  for (const [parameterName, name] of matchNames(table, definition, checkpoint)) {
    const role = table.role(parameterName);
    // As in memory: a rounding of a router could choose another expert.
    const isRouter = role === 'router' && dtype !== 'bfloat16';
    if (isRouter) routers.push(name);
    if (role === 'logDecay' && name.endsWith('.A')) {
      weights.push(planWeight(`${name}_log`, logDecays(checkpoint.tensor(name)), undefined));
      continue;
    }
    weights.push(planWeight(name, checkpoint.tensor(name), isMatrixRole(role) && !isRouter ? dtype : undefined));
  }
  const { quantization: _, quantization_config: __, compression_config: ___, ...plain } = checkpoint.config;
  const config = { ...plain, ...(untieHead && { tie_word_embeddings: false }) };
  if (dtype === 'bfloat16') return { weights, config: { ...config, dtype } };
  return { weights, config: { ...config, quantization_config: quantizationConfig(weights, routers) } };
}

/** GGUF has A itself. Hugging Face's layout has log(-A), in float32 and so without A's last bits. */
function logDecays(tensor: StoredTensor): StoredTensor {
  const readFloat32: StoredTensor['readFloat32'] = async (range, scratch) =>
    (await tensor.readFloat32(range, scratch)).map((A) => Math.log(-A));
  return { ...tensor, readFloat32 };
}

function planWeight(name: string, tensor: StoredTensor, rounded: ConvertedDType | undefined): PlannedWeight {
  const { shape } = tensor;
  const plain = (dtype: PlannedTensor['dtype']) => ({
    name,
    tensor,
    rounded,
    form: undefined,
    written: [{ name, dtype, shape }],
  });
  if (rounded === undefined) return plain(tensor.dtype === 'BF16' || tensor.dtype === 'F16' ? tensor.dtype : 'F32');
  if (rounded === 'bfloat16') return plain('BF16');
  const columns = shape[shape.length - 1];
  const form = packedForm(rounded, columns);
  if (form === undefined) return plain('F32');
  const { bits, groupSize, scaleDType } = form;
  const written: PlannedTensor[] = [
    { name: `${name}_packed`, dtype: 'I32', shape: [...shape.slice(0, -1), (columns * bits) / 32] },
    { name: `${name}_scale`, dtype: scaleDType, shape: [...shape.slice(0, -1), columns / groupSize] },
    { name: `${name}_shape`, dtype: 'I64', shape: [shape.length] },
  ];
  return { name, tensor, rounded, form, written };
}

/** Name of the layer that a weight belongs to. */
function layerOf(name: string): string {
  return name.replace(/\.weight$/, '');
}

/** Groups of columns of most sizes are few: the most frequent is that of all layers, others name theirs. */
function quantizationConfig(weights: readonly PlannedWeight[], routers: readonly string[]): JsonObject {
  const bySize = groupBy(
    weights.filter(({ form }) => form !== undefined),
    ({ form }) => form?.groupSize ?? 0,
  );
  const sorted = [...bySize].sort(([, a], [, b]) => b.length - a.length);
  const groups = sorted.map(([groupSize, own], i) => ({
    targets: i === 0 ? ['Linear', 'Embedding'] : own.map(({ name }) => layerOf(name)),
    weights: {
      num_bits: own[0].form?.bits ?? 8,
      type: 'int',
      symmetric: true,
      strategy: 'group',
      group_size: groupSize,
      dynamic: false,
    },
    input_activations: null,
    output_activations: null,
  }));
  const unpacked = weights.filter(({ rounded, form }) => rounded !== undefined && form === undefined);
  return {
    quant_method: 'compressed-tensors',
    format: 'pack-quantized',
    quantization_status: 'compressed',
    ignore: [...routers, ...unpacked.map(({ name }) => name)].map(layerOf),
    config_groups: Object.fromEntries(groups.map((group, i) => [`group_${i}`, group])),
  };
}

async function writeWeights(
  weights: readonly PlannedWeight[],
  { out, signal, onValues }: ConvertOptions,
): Promise<number> {
  const path = join(out, WEIGHTS_FILE);
  // Under another name until it is whole.
  const handle = await open(`${path}.part`, 'w');
  try {
    const file = new TensorFile(
      handle,
      weights.flatMap(({ written }) => written),
    );
    await file.writeHeader();
    const total = weights.reduce((sum, { tensor }) => sum + elementCount(tensor.shape), 0);
    const scratch = new ReadScratch(BLOCK_VALUES);
    let done = 0;
    for (const weight of weights) {
      const [rows = 1, ...row] = weight.tensor.shape;
      if (weight.form) await file.append(weight.written[2].name, shapeBytes(weight.tensor.shape));
      const step = Math.max(1, Math.floor(BLOCK_VALUES / elementCount(row)));
      for (let firstRow = 0; firstRow < rows; firstRow += step) {
        signal?.throwIfAborted();
        const range = { firstRow, rows: Math.min(step, rows - firstRow) };
        const values = await weight.tensor.readFloat32(range, scratch);
        await writeRows(file, weight, values);
        done += values.length;
        onValues?.(done, total);
      }
      weight.tensor.release?.();
    }
    await handle.sync();
    await handle.close();
    await rename(`${path}.part`, path);
    return file.byteLength;
  } catch (error) {
    await handle.close().catch(() => {});
    await rm(`${path}.part`, { force: true });
    throw error;
  }
}

async function writeRows(file: TensorFile, { tensor, rounded, form, written }: PlannedWeight, values: Float32Array) {
  const { shape } = tensor;
  const columns = shape[shape.length - 1] ?? 1;
  if (form !== undefined) {
    const [codes, scales] = written;
    const packed = packRows(values, columns, form);
    await file.append(codes.name, packed.codes);
    await file.append(scales.name, packed.scales);
    return;
  }
  if (rounded !== undefined) roundWeight(values, columns, rounded);
  const [{ name, dtype }] = written;
  await file.append(name, dtype === 'BF16' ? upperHalves(values) : dtype === 'F16' ? halves(values) : bytesOf(values));
}

function shapeBytes(shape: readonly number[]): Uint8Array {
  return new Uint8Array(BigInt64Array.from(shape, BigInt).buffer);
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function halves(values: Float32Array): Uint8Array {
  return new Uint8Array(Uint16Array.from(values, float16Bits).buffer);
}

/** JSON as Python writes it: a number may be infinite. */
function pythonJson(value: JsonObject): string {
  const marked = (_: string, item: unknown) =>
    typeof item === 'number' && !Number.isFinite(item) ? { __float__: pythonFloat(item) } : item;
  return `${JSON.stringify(value, marked, 2)}\n`;
}

/** As transformers 5 writes numbers that JSON has no word for. */
function pythonFloat(value: number): string {
  return Number.isNaN(value) ? 'NaN' : value > 0 ? 'Infinity' : '-Infinity';
}
