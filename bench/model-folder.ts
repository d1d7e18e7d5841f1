import { existsSync } from 'node:fs';
import { type FileHandle, mkdir, open, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ReferenceBackend } from '../src/backends/reference/reference-backend.ts';
import { MODEL_SHAPES, type ModelShape } from '../src/bench/model-shapes.ts';
import { syntheticWeight } from '../src/bench/synthetic-weights.ts';
import type { JsonObject } from '../src/checkpoint/json/json.ts';
import { singleProcess } from '../src/distributed/process-group.ts';
import { LayerContext } from '../src/layers/parameters/layer-context.ts';
import { ParameterTable } from '../src/layers/parameters/parameter.ts';
import { defineModel } from '../src/models/registry.ts';
import { elementCount } from '../src/tensor/tensor.ts';
import { say } from './child-process.ts';

const SEED = 0;

/** A tensor of a safetensors file. */
export interface Piece {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: number;
  readonly data: () => Uint8Array;
}

/** A model's weights with synthetic values, one after the other. */
export class SyntheticParameters {
  readonly #table: ParameterTable;

  constructor(shape: ModelShape) {
    const context = new LayerContext(new ReferenceBackend(), singleProcess, 'float32');
    this.#table = new ParameterTable(defineModel(MODEL_SHAPES[shape]).create(context));
  }

  names(): string[] {
    return this.#table.names();
  }

  shape(name: string): readonly number[] {
    return this.#table.shape(name);
  }

  isProjection(name: string): boolean {
    return this.#table.role(name) === 'projection';
  }

  /** A weight as floats; those that came from training as bfloat16 would have those values. */
  floats(name: string, dtype: 'F32' | 'BF16'): Piece {
    const shape = this.shape(name);
    const data = () => {
      const values = syntheticWeight(name, this.#table.role(name), shape, SEED);
      return dtype === 'F32' ? bytesOf(values) : bytesOf(upperHalves(values));
    };
    return { name, dtype, shape, bytes: elementCount(shape) * (dtype === 'F32' ? 4 : 2), data };
  }
}

/** Writes a folder of Hugging Face's layout without a tokenizer, unless it is there. */
export async function writeModelFolder(path: string, config: JsonObject, pieces: readonly Piece[]): Promise<void> {
  const weights = join(path, 'model.safetensors');
  if (existsSync(weights)) return;
  await mkdir(path, { recursive: true });
  say(`writing ${path}`);
  await writeFile(join(path, 'config.json'), JSON.stringify(config));
  // Under another name until it is whole.
  await writeWeights(`${weights}.partial`, pieces);
  await rename(`${weights}.partial`, weights);
}

async function writeWeights(path: string, pieces: readonly Piece[]): Promise<void> {
  let offset = 0;
  const entries = pieces.map(({ name, dtype, shape, bytes }) => {
    const begin = offset;
    offset += bytes;
    return [name, { dtype, shape, data_offsets: [begin, offset] }];
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

export function bytesOf({ buffer, byteOffset, byteLength }: Float32Array | Uint16Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function upperHalves(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(bits, (word) => word >>> 16);
}

async function append(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let begin = 0; begin < bytes.length; ) {
    begin += (await file.write(bytes, begin, Math.min(bytes.length - begin, 2 ** 28))).bytesWritten;
  }
}
