import { ReferenceBackend } from '../../backends/reference/reference-backend.ts';
import type { Checkpoint } from '../../checkpoint/checkpoint.ts';
import type { QuantizedCaches } from '../../checkpoint/quantization/quantized-caches.ts';
import { singleProcess } from '../../distributed/process-group.ts';
import { LayerContext } from '../../layers/parameters/layer-context.ts';
import type { ModelDefinition } from '../../models/causal-lm.ts';
import type { KvCacheDType, KvCacheDTypeSetting } from '../../tensor/kv-cache-dtype.ts';
import { headerCheck } from '../weights/header-check.ts';

/**
 * A dtype that was asked for, as the keys and values of a model get it.
 * @param caches what a tool says of them that has quantised the checkpoint.
 */
export function kvCacheDTypeOf(
  setting: KvCacheDTypeSetting = 'auto',
  caches?: Pick<QuantizedCaches, 'isFp8'>,
): KvCacheDType {
  if (setting === 'auto') return caches?.isFp8 ? 'fp8_e4m3' : 'float32';
  return setting === 'fp8' ? 'fp8_e4m3' : setting;
}

/**
 * Dtype of a model's keys and values; undefined where no layer has attention: then what was asked for has no use, which a
 * warning says.
 * @throws MissingTensorError, WeightShapeError when the config asks for more than the checkpoint can hold.
 */
export function chooseKvCacheDType(
  { definition, checkpoint }: { readonly definition: ModelDefinition; readonly checkpoint: Checkpoint },
  {
    kvCacheDtype: setting,
    onWarning,
  }: {
    readonly kvCacheDtype?: KvCacheDTypeSetting | undefined;
    readonly onWarning?: ((message: string) => void) | undefined;
  },
): KvCacheDType | undefined {
  const check = headerCheck(definition, checkpoint);
  const context = new LayerContext(new ReferenceBackend(), singleProcess, 'float32', { check });
  if (definition.create(context).kvCacheSizes.length > 0) {
    return kvCacheDTypeOf(setting, checkpoint.quantization?.caches);
  }
  if (setting !== undefined && setting !== 'auto') {
    onWarning?.(`kvCacheDtype is '${setting}', but no layer of this model has attention: it changes nothing.`);
  }
  return undefined;
}
