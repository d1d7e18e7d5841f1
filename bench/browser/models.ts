import { existsSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MODEL_SHAPES, type ModelShape } from '../../src/bench/model-shapes.ts';
import { syntheticWeight } from '../../src/bench/synthetic-weights.ts';
import { type TensorToWrite, writeSafetensors } from '../../src/checkpoint/safetensors/safetensors-writer.ts';
import { ReferenceBackend, singleProcess } from '../../src/index.ts';
import { LayerContext } from '../../src/layers/parameters/layer-context.ts';
import { ParameterTable } from '../../src/layers/parameters/parameter.ts';
import { defineModel } from '../../src/models/registry.ts';
import { say } from '../child-process.ts';
import { writeSyntheticGguf } from '../synthetic-gguf.ts';
import { THEIR_DTYPES } from './workload.ts';

/** Folder of the models that browsers load. */
export const MODELS = join(import.meta.dirname, '..', '.build', 'browser-models');

/** The seed of `mamba2 bench`. */
const SEED = 0;

/** Writes what is missing of one shape: a checkpoint for us, two GGUF files for wllama, of the same weights. */
export async function prepareModels(shape: ModelShape): Promise<void> {
  await mkdir(MODELS, { recursive: true });
  await unlessThere(join(MODELS, shape), (path) => writeCheckpoint(path, shape));
  for (const dtype of THEIR_DTYPES) {
    await unlessThere(join(MODELS, `${shape}-${dtype}.gguf`), (path) =>
      writeSyntheticGguf(path, shape, dtype, 'made up'),
    );
  }
}

/** Forgets them: they are large. */
export async function removeModels(): Promise<void> {
  await rm(MODELS, { recursive: true, force: true });
}

async function unlessThere(path: string, write: (path: string) => Promise<void>): Promise<void> {
  if (existsSync(path)) return;
  say(`writing ${path}`);
  // Under another name until it is whole.
  const partial = `${path}.partial`;
  await rm(partial, { recursive: true, force: true });
  await write(partial);
  await rename(partial, path);
}

async function writeCheckpoint(folder: string, shape: ModelShape): Promise<void> {
  const config = MODEL_SHAPES[shape];
  const model = defineModel(config).create(new LayerContext(new ReferenceBackend(), singleProcess, 'float32'));
  const table = new ParameterTable(model);
  const tensors = table.names().map((name): TensorToWrite => {
    const extents = table.shape(name);
    return { name, dtype: 'F32', shape: extents, data: syntheticWeight(name, table.role(name), extents, SEED) };
  });
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  await writeFile(join(folder, 'model.safetensors'), writeSafetensors(tensors));
}
