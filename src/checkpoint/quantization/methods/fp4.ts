import { E2M1, E8M0 } from '../../../tensor/small-floats.ts';
import { packedCodes } from '../decode/codes.ts';
import { type NamedTensor, PER_TENSOR, perGroup, type QuantizedModule } from '../weights/quantized-module.ts';
import type { QuantizedTensor } from '../weights/quantized-tensor.ts';

export interface Fp4Options {
  readonly format: string;
  readonly groupSize: number;
  readonly scales: { readonly tensor: NamedTensor; readonly values: Float32Array };
  readonly global?: {
    readonly named: NamedTensor;
    /** The scales are divided by it. */
    readonly isReciprocal: boolean;
  };
  /** Values in an element of the tensor of codes: 2 in a byte, 8 in a word. Default: 2. */
  readonly perElement?: number;
}

/** A weight of floats of 4 bits, the first of a byte in its lower half, with a scale for each group of columns. */
export function openFp4(module: QuantizedModule, options: Fp4Options): Promise<QuantizedTensor> {
  module.checkMatrix();
  const { codes } = module;
  const { format, groupSize, scales, global, perElement = 2 } = options;
  const columns = codes.shape[codes.shape.length - 1] * perElement;
  const shape = [...codes.shape.slice(0, -1), columns];
  module.checkGroups(columns, groupSize);
  if (global !== undefined) module.factors(global.named, shape, PER_TENSOR, { values: 'float' });
  const factors = module.factors(scales.tensor, shape, perGroup(groupSize), {
    values: scales.values,
    global: global && { tensor: global.named.tensor, isReciprocal: global.isReciprocal },
  });
  const scale = scales.values === E8M0 ? 'E8M0' : 'E4M3';
  return module.scaled(
    shape,
    {
      format,
      code: 'E2M1',
      bits: 4,
      rowsPerScale: 1,
      columnsPerScale: groupSize,
      scale: global === undefined ? scale : `${scale} and F32`,
      offset: 'none',
      isReordered: false,
      order: 'rows',
    },
    {
      columns,
      codes: packedCodes(codes, { bits: 4, columns, values: E2M1 }),
      scales: factors,
      columnsPerScale: groupSize,
    },
  );
}
