import { JsonFileError } from '../../errors.ts';
import { asObject, describeJson, getOwn, type JsonObject } from '../json/json.ts';

/**
 * The `weight_map` of a model.safetensors.index.json: tensor name → shard file name. Throws JsonFileError when a shard
 * is not a plain file name: an index must not make the loader read, or the downloader write, outside of its folder.
 */
export function parseWeightMap(index: JsonObject, fileName: string): ReadonlyMap<string, string> {
  const weightMap = new Map<string, string>();
  for (const [name, file] of Object.entries(asObject(getOwn(index, 'weight_map'), `${fileName}, weight_map`))) {
    if (typeof file !== 'string' || !isShardName(file)) {
      throw new JsonFileError(
        `${fileName}: tensor '${name}' is mapped to ${describeJson(file)}, expected the name of a .safetensors file.`,
        'Shards lie in the folder of the index itself.',
      );
    }
    weightMap.set(name, file);
  }
  return weightMap;
}

/** Whether this is the plain name of a safetensors file, on every operating system. */
export function isShardName(file: string): boolean {
  return /^[^/\\:\0]+\.safetensors$/.test(file);
}
