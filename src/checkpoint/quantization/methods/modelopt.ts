import { ConfigError } from '../../../errors.ts';
import { E4M3 } from '../../../tensor/small-floats.ts';
import type { ConfigReader } from '../../json/config-reader.ts';
import { exclusionsOf } from '../weights/exclusions.ts';
import { LayerPatterns } from '../weights/layer-patterns.ts';
import { type QuantizationMethod, samePlace } from '../weights/quantization-method.ts';
import { type Coverage, PER_CHANNEL, PER_TENSOR, perGroup, type QuantizedModule } from '../weights/quantized-module.ts';
import type { QuantizedTensor } from '../weights/quantized-tensor.ts';
import { openFp4 } from './fp4.ts';
import { isFp8, openFp8 } from './fp8.ts';

/** Schemes of whole models and of layers. NVFP4 and W4A16_NVFP4 differ in their activations only. */
const FP8_COVERAGE: Readonly<Record<string, Coverage>> = {
  FP8: PER_TENSOR,
  FP8_PER_CHANNEL_PER_TOKEN: PER_CHANNEL,
  FP8_PB_WO: { rowsPerScale: 128, columnsPerScale: 128 },
};
const NVFP4_SCHEMES: ReadonlySet<string> = new Set(['NVFP4', 'W4A16_NVFP4']);
const SCHEMES = [...Object.keys(FP8_COVERAGE), ...NVFP4_SCHEMES, 'MXFP8', 'MIXED_PRECISION'];

/**
 * NVIDIA's ModelOpt, from `quantization_config` of config.json or `quantization` of hf_quant_config.json. Floats of 4 bits lie
 * in pairs, the first in the lower half; their scales are E4M3, and `weight_scale_2` multiplies those of a matrix.
 */
export function modelOptMethod(config: ConfigReader): QuantizationMethod {
  // Caches alone may have been quantised.
  if (!config.has('quant_algo') && config.has(['kv_cache_quant_algo', 'kv_cache_scheme'])) return onlyCaches;
  const algorithm = readScheme(config);
  const layers = algorithm === 'MIXED_PRECISION' ? layerSchemes(config) : undefined;
  const common: Scheme = { algorithm, groupSize: config.optionalInteger('group_size', { min: 1 }) };
  return {
    name: `ModelOpt ${algorithm}`,
    // Versions before 0.39 mean parts of names as well.
    exclusions: exclusionsOf(config, ['exclude_modules', 'ignore'], { isStrict: false }),
    place: (name, tensor) => (isFp8(tensor) || tensor.dtype === 'U8' ? samePlace(name) : undefined),
    open(module) {
      const scheme = layers === undefined ? common : layers(module.prefix);
      if (scheme !== undefined) return openLayer(module, scheme);
      throw new ConfigError(
        `${config.fileName}: 'quantized_layers' does not say how '${module.codesName}' is quantized.`,
        'Compare with the file of the original model.',
      );
    },
  };
}

const onlyCaches: QuantizationMethod = {
  name: 'ModelOpt, keys and values alone',
  place: () => undefined,
  open: (module) => {
    throw module.damaged(`'${module.codesName}' is quantized, which the config does not say.`);
  },
};

interface Scheme {
  readonly algorithm: string;
  readonly groupSize: number | undefined;
}

/** @throws ConfigError */
function readScheme(config: ConfigReader): string {
  const algorithm = config.string('quant_algo').toUpperCase();
  if (SCHEMES.includes(algorithm)) return algorithm;
  throw new ConfigError(
    `${config.fileName} '${algorithm}' is not read: of ModelOpt's schemes it would be one of ${SCHEMES.join(', ')}.`,
    'Use the unquantized repository; dtype int8 or int4 quantizes its weights while they are loaded.',
  );
}

/** The schemes of a model of mixed precision. A layer's is that of the closest name in the config. */
function layerSchemes(config: ConfigReader): (prefix: string) => Scheme | undefined {
  const section = config.section('quantized_layers');
  const names = section?.keys() ?? [];
  const schemes = names.map((name): Scheme | undefined => {
    const layer = section?.section(name);
    return layer && { algorithm: readScheme(layer), groupSize: layer.optionalInteger('group_size', { min: 1 }) };
  });
  const exact = new Map(names.map((name, i) => [name, schemes[i]]));
  const patterns = new LayerPatterns(names, `${config.fileName}: 'quantized_layers'`, 'path');
  return (prefix) => exact.get(prefix) ?? schemes[patterns.indexOf(prefix)];
}

function openLayer(module: QuantizedModule, { algorithm, groupSize }: Scheme): Promise<QuantizedTensor> {
  if (NVFP4_SCHEMES.has(algorithm)) return openNvfp4(module, algorithm, groupSize ?? 16);
  module.checkDType({ name: module.codesName, tensor: module.codes }, ['F8_E4M3']);
  const scales = module.require('weight_scale');
  if (algorithm !== 'MXFP8') return openFp8(module, `ModelOpt ${algorithm}`, scales, FP8_COVERAGE[algorithm]);
  module.checkDType(scales, ['U8', 'F8_E8M0']);
  const size = groupSize ?? 32;
  module.checkGroups(module.codes.shape[module.codes.shape.length - 1], size);
  return openFp8(module, 'ModelOpt MXFP8', scales, perGroup(size));
}

function openNvfp4(module: QuantizedModule, algorithm: string, groupSize: number): Promise<QuantizedTensor> {
  module.checkDType({ name: module.codesName, tensor: module.codes }, ['U8']);
  const scales = module.require('weight_scale');
  module.checkDType(scales, ['F8_E4M3']);
  const global = module.require('weight_scale_2');
  return openFp4(module, {
    format: `ModelOpt ${algorithm}`,
    groupSize,
    scales: { tensor: scales, values: E4M3 },
    global: { named: global, isReciprocal: false },
  });
}
