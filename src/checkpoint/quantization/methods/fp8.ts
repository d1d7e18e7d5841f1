import { ConfigError } from '../../../errors.ts';
import { E4M3, E5M2 } from '../../../tensor/small-floats.ts';
import type { StoredTensor } from '../../files/stored-tensor.ts';
import type { ConfigReader } from '../../json/config-reader.ts';
import { byteCodes } from '../decode/codes.ts';
import { exclusionsOf } from '../weights/exclusions.ts';
import { type QuantizationMethod, samePlace } from '../weights/quantization-method.ts';
import type { Coverage, NamedTensor, QuantizedModule } from '../weights/quantized-module.ts';
import type { QuantizedTensor } from '../weights/quantized-tensor.ts';

/** Whether a tensor holds floats of 8 bits. */
export function isFp8({ dtype }: StoredTensor): boolean {
  return dtype === 'F8_E4M3' || dtype === 'F8_E5M2';
}

/**
 * `quant_method: fp8`, as transformers, vLLM and DeepSeek write it: one scale for a tensor or a row (`weight_scale`), or one for
 * each block of `weight_block_size` (`weight_scale_inv`, which in spite of its name is multiplied). `fbgemm_fp8` has a scale
 * for each row.
 */
export function fp8Method(config: ConfigReader, name: string): QuantizationMethod {
  const block = config.numbers('weight_block_size', 2, []);
  if (block.some((extent) => !Number.isSafeInteger(extent) || extent < 1)) {
    throw new ConfigError(
      `${config.fileName}: 'weight_block_size' is [${block}], expected two whole numbers from 1 on.`,
    );
  }
  const blocks = block.length === 2 ? { rowsPerScale: block[0], columnsPerScale: block[1] } : undefined;
  return {
    name: name === 'fp8' ? 'FP8' : name,
    exclusions: exclusionsOf(config, ['modules_to_not_convert', 'ignored_layers'], { isStrict: true }),
    place: (name, tensor) => (isFp8(tensor) ? samePlace(name) : undefined),
    open(module) {
      const scales =
        (blocks && module.find('weight_scale_inv')) ?? module.find('weight_scale') ?? module.find('weight_scale_inv');
      return openFp8(module, 'FP8', scales ?? module.require(blocks ? 'weight_scale_inv' : 'weight_scale'), blocks);
    },
  };
}

/** A weight of floats of 8 bits. Without a coverage the scales' number tells it. */
export function openFp8(
  module: QuantizedModule,
  format: string,
  scales: NamedTensor,
  coverage: Coverage | undefined,
): Promise<QuantizedTensor> {
  module.checkMatrix();
  const { shape, dtype } = module.codes;
  const { rowsPerScale, columnsPerScale } = coverage ?? module.coverageOf(scales, shape);
  const factors = module.factors(scales, shape, { rowsPerScale, columnsPerScale });
  const isE5M2 = dtype === 'F8_E5M2';
  return module.scaled(
    shape,
    {
      format,
      code: isE5M2 ? 'E5M2' : 'E4M3',
      bits: 8,
      rowsPerScale,
      columnsPerScale,
      scale: scales.tensor.dtype,
      offset: 'none',
      isReordered: false,
      order: 'rows',
    },
    {
      columns: shape[shape.length - 1],
      codes: byteCodes(module.codes, isE5M2 ? E5M2 : E4M3),
      scales: factors,
      columnsPerScale,
    },
  );
}
