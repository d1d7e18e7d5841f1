import { ReferenceBackend } from '../../src/backends/reference/reference-backend.ts';
import type { JsonObject } from '../../src/checkpoint/json/json.ts';
import { writeSafetensors } from '../../src/checkpoint/safetensors/safetensors-writer.ts';
import { singleProcess } from '../../src/distributed/process-group.ts';
import { LayerContext } from '../../src/layers/parameters/layer-context.ts';
import { ParameterTable } from '../../src/layers/parameters/parameter.ts';
import { defineModel } from '../../src/models/registry.ts';
import { makeFolder } from '../checkpoint/folders.ts';
import { seededWeights } from '../layers/mixer-case.ts';

/** A tensor of a checkpoint. */
export interface NamedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** Seeded weights for the model that a config describes, under the model's own names. */
export function seededCheckpoint(config: JsonObject, seed: number): NamedTensor[] {
  const model = defineModel(config).create(new LayerContext(new ReferenceBackend(), singleProcess, 'float32'));
  const table = new ParameterTable(model);
  const shapes = table.names().map((name) => [name, table.shape(name)] as const);
  const weights = seededWeights(shapes, seed);
  return shapes.map(([name, shape]) => ({ name, shape, data: weights[name] }));
}

/** A model folder with these weights, removed when the test ends. */
export function modelFolder(config: JsonObject, tensors: readonly NamedTensor[]): Promise<string> {
  const file = writeSafetensors(tensors.map((tensor) => ({ ...tensor, dtype: 'F32' as const })));
  return makeFolder({ 'config.json': config, 'model.safetensors': file });
}
