import { existsSync } from 'node:fs';
import { type FileHandle, mkdir, open, rename, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ReferenceBackend } from '../src/backends/reference/reference-backend.ts';
import { MODEL_SHAPES, type ModelShape } from '../src/bench/model-shapes.ts';
import { syntheticWeight } from '../src/bench/synthetic-weights.ts';
import { formatTable } from '../src/cli/terminal/table.ts';
import { singleProcess } from '../src/distributed/process-group.ts';
import { LayerContext } from '../src/layers/parameters/layer-context.ts';
import { ParameterTable } from '../src/layers/parameters/parameter.ts';
import { defineModel } from '../src/models/registry.ts';
import { elementCount } from '../src/tensor/tensor.ts';
import { say } from './child-process.ts';
import { requireOurs, runOurs } from './ours.ts';

/**
 * Speed of a model whose projections are FP8 (E4M3, a scale for each tensor), as ModelOpt and others write them. llama.cpp
 * has no such type, so there is nothing to compare it with.
 */
const FOLDER = join(import.meta.dirname, '.build', 'models');
const SEED = 0;

const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: 'mamba2-130m' },
    threads: { type: 'string', default: `${availableParallelism()}` },
    quick: { type: 'boolean', default: false },
  },
});
if (!Object.hasOwn(MODEL_SHAPES, values.shape)) throw new Error(`There is no shape '${values.shape}'.`);
const shape = values.shape as ModelShape;
await requireOurs();
const folder = await prepareFolder(shape);
const workload = {
  shape,
  threads: Number(values.threads),
  promptTokens: [values.quick ? 32 : 512],
  generateTokens: values.quick ? 8 : 32,
  sequences: values.quick ? 4 : 16,
};
const rates = await runOurs('float32', workload, folder);
const rows = [...rates].map(([work, rate]) => [work, rate.toFixed(1)]);
process.stdout.write(`${shape} in FP8, threads: ${values.threads}\n\n${formatTable([['', 'tokens/s'], ...rows])}\n`);

/** Makes the folder unless it is there. → its path */
async function prepareFolder(name: ModelShape): Promise<string> {
  const path = join(FOLDER, `${name}-FP8`);
  const weights = join(path, 'model.safetensors');
  if (existsSync(weights)) return path;
  await mkdir(path, { recursive: true });
  say(`writing ${path}`);
  const config = { ...MODEL_SHAPES[name], quantization_config: { quant_method: 'fp8', activation_scheme: 'dynamic' } };
  await writeFile(join(path, 'config.json'), JSON.stringify(config));
  await writeWeights(`${weights}.partial`, name);
  await rename(`${weights}.partial`, weights);
  return path;
}

interface Piece {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: number;
  readonly data: () => Uint8Array;
}

async function writeWeights(path: string, name: ModelShape): Promise<void> {
  const context = new LayerContext(new ReferenceBackend(), singleProcess, 'float32');
  const table = new ParameterTable(defineModel(MODEL_SHAPES[name]).create(context));
  const pieces = table.names().flatMap((parameter) => piecesOf(table, parameter));
  let offset = 0;
  const entries = pieces.map(({ name: tensor, dtype, shape: size, bytes }) => {
    const begin = offset;
    offset += bytes;
    return [tensor, { dtype, shape: size, data_offsets: [begin, offset] }];
  });
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const file = await open(path, 'w');
  try {
    for (const part of [length, json]) await append(file, part);
    for (const { data } of pieces) await append(file, data());
  } finally {
    await file.close();
  }
}

/** A projection is codes and a scale; all else stays float32. */
function piecesOf(table: ParameterTable, name: string): Piece[] {
  const size = table.shape(name);
  const count = elementCount(size);
  const role = table.role(name);
  if (role !== 'projection') {
    const data = () => bytesOf(syntheticWeight(name, role, size, SEED));
    return [{ name, dtype: 'F32', shape: size, bytes: 4 * count, data }];
  }
  const scale = { name: `${name}_scale`, dtype: 'F32', shape: [1], bytes: 4 };
  return [
    { name, dtype: 'F8_E4M3', shape: size, bytes: count, data: () => codes(count) },
    { ...scale, data: () => bytesOf(Float32Array.of(0.01)) },
  ];
}

/** Codes of all values but NaN. */
function codes(count: number): Uint8Array {
  const bytes = new Uint8Array(count);
  for (let i = 0; i < count; i++) bytes[i] = Math.imul(i, 0x9e3779b1) >>> 24;
  return bytes.map((code) => ((code & 0x7f) > 0x50 ? code & 0xbf : code));
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

async function append(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let begin = 0; begin < bytes.length; ) {
    begin += (await file.write(bytes, begin, Math.min(bytes.length - begin, 2 ** 28))).bytesWritten;
  }
}
