import { ConfigError } from '../../../errors.ts';
import type { ConfigReader } from '../../json/config-reader.ts';
import { outputPackedCodes, outputPackedZeros, transposedScales } from '../decode/column-words.ts';
import { exclusionsOf } from '../weights/exclusions.ts';
import { type QuantizationMethod, renamedPlace } from '../weights/quantization-method.ts';
import type { QuantizedModule } from '../weights/quantized-module.ts';
import type { QuantizedTensor } from '../weights/quantized-tensor.ts';

/** Places of eight consecutive outputs in a word, in nibbles from the lowest on: they lie as 0, 2, 4, 6, 1, 3, 5, 7. */
const POSITIONS = [0, 4, 1, 5, 2, 6, 3, 7];

/** AWQ as AutoAWQ writes it (`GEMM`): `qweight` (in, out / 8), `qzeros` (groups, out / 8), `scales` (groups, out). */
export function awqMethod(config: ConfigReader): QuantizationMethod {
  const bits = config.integer(['bits', 'w_bit'], { default: 4 });
  const version = config.optionalString('version')?.toUpperCase() ?? 'GEMM';
  if (bits !== 4 || version !== 'GEMM') {
    throw new ConfigError(
      `${config.fileName}: AWQ with ${bits} bits in the version ${version} is not read, only with 4 in GEMM.`,
      'Use a repository in that version, or the unquantized one.',
    );
  }
  const groupSize = config.integer(['group_size', 'q_group_size'], { min: -1, default: 128 });
  return {
    name: 'AWQ 4 bits',
    exclusions: exclusionsOf(config, ['modules_to_not_convert'], { isStrict: false }),
    place: (name) => renamedPlace(name, 'qweight'),
    open: (module) => openLayer(module, groupSize > 0 ? groupSize : Infinity),
  };
}

function openLayer(module: QuantizedModule, groupSize: number): Promise<QuantizedTensor> {
  module.checkDType({ name: module.codesName, tensor: module.codes }, ['I32', 'U32']);
  module.checkMatrix();
  const [inputs, words] = module.codes.shape;
  const outputs = 8 * words;
  const size = Math.min(groupSize, inputs);
  const [scales, zeros] = [module.require('scales'), module.require('qzeros')];
  module.checkGroups(inputs, size);
  module.checkDType(scales, ['F16', 'BF16', 'F32']);
  module.checkShape(scales, [inputs / size, outputs]);
  module.checkDType(zeros, ['I32', 'U32']);
  module.checkShape(zeros, [inputs / size, words]);
  return module.scaled(
    [outputs, inputs],
    {
      format: 'AWQ int4',
      code: 'uint',
      bits: 4,
      rowsPerScale: 1,
      columnsPerScale: size,
      scale: scales.tensor.dtype,
      offset: 'zero point',
      isReordered: false,
      order: 'columns',
    },
    {
      columns: inputs,
      codes: outputPackedCodes(module.codes, POSITIONS, inputs),
      scales: transposedScales(scales.tensor),
      zeroPoints: outputPackedZeros(zeros.tensor, 4, {
        position: (output) => (output & ~7) + POSITIONS[output & 7],
      }),
      columnsPerScale: size,
    },
  );
}
