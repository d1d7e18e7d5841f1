import type { Checkpoint } from '../../checkpoint/checkpoint.ts';
import { ConfigError } from '../../errors.ts';
import type { CacheScales, KvCacheSize } from '../../layers/attention/kv-cache-shape.ts';
import type { ModelDefinition } from '../../models/causal-lm.ts';

const NONE: CacheScales = { key: 1, value: 1 };

/**
 * The scales that a checkpoint has for a model's attention layers, as tools for FP8 write them: `k_scale` and `v_scale`
 * beside the projections (compressed-tensors), `k_proj.k_scale` and `v_proj.v_scale` (ModelOpt), or `kv_scale` for both. A
 * layer that has one of the two has it for both, and one that has none has 1; a scale that is not above 0 counts as none. All
 * as in vLLM.
 * @throws ConfigError for scales of parts of a layer.
 */
export async function readCacheScales(
  sizes: readonly Pick<KvCacheSize, 'prefix'>[],
  definition: Pick<ModelDefinition, 'parameterName'>,
  checkpoint: Pick<Checkpoint, 'quantization'>,
): Promise<CacheScales[]> {
  const { scales } = checkpoint.quantization?.caches ?? {};
  if (scales === undefined || scales.size === 0) return sizes.map(() => NONE);
  const found = new Map<string, { key?: number; value?: number }>();
  for (const [name, tensor] of scales) {
    const [, attention, kind] = /^(.*?)(?:\.[kv]_proj)?\.(k_scale|v_scale|kv_scale)$/.exec(name) ?? [];
    const own = attention && definition.parameterName(`${attention}.k_proj.weight`);
    if (!own) continue;
    const values = await tensor.readFloat32();
    if (values.length !== 1) {
      throw new ConfigError(
        `'${name}' has ${values.length} scales; of keys and values those of whole layers are read.`,
        "Say which dtype they are to have (kvCacheDtype 'float32').",
      );
    }
    const [scale] = values;
    if (!(scale > 0 && Number.isFinite(scale))) continue;
    const prefix = own.slice(0, own.indexOf('.k_proj.'));
    const both =
      kind === 'kv_scale' ? { key: scale, value: scale } : kind === 'k_scale' ? { key: scale } : { value: scale };
    found.set(prefix, { ...found.get(prefix), ...both });
  }
  return sizes.map(({ prefix }) => {
    const { key, value } = (prefix === undefined ? undefined : found.get(prefix)) ?? {};
    return { key: key ?? value ?? NONE.key, value: value ?? key ?? NONE.value };
  });
}
