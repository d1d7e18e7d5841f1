import { ConfigError } from '../../../errors.ts';
import type { ConfigReader } from '../../json/config-reader.ts';
import { inputPackedCodes, outputPackedZeros, transposedScales } from '../decode/column-words.ts';
import { exclusionsOf } from '../weights/exclusions.ts';
import { regularExpression } from '../weights/layer-patterns.ts';
import { type QuantizationMethod, renamedPlace } from '../weights/quantization-method.ts';
import type { QuantizedModule } from '../weights/quantized-module.ts';
import type { QuantizedTensor } from '../weights/quantized-tensor.ts';
import { readGroupIndex } from './integers.ts';

const BITS = [2, 3, 4, 8];

interface Settings {
  readonly bits: number;
  /** Infinity: one scale for all inputs. */
  readonly groupSize: number;
}

/**
 * GPTQ as AutoGPTQ and GPTQModel write it, for all layers or, by `dynamic`, in other ways for some. `qweight` (in * bits / 32,
 * out), `scales` (groups, out), `qzeros` (groups, out * bits / 32) and `g_idx` (in). The first version of the format stores
 * zero points less one.
 */
export function gptqMethod(config: ConfigReader): QuantizationMethod {
  const common = readSettings(config, config);
  const format = config.optionalString('checkpoint_format') ?? 'gptq';
  if (format !== 'gptq' && format !== 'gptq_v2') {
    throw new ConfigError(
      `${config.fileName}: the checkpoint_format '${format}' is not read, only 'gptq' and 'gptq_v2'.`,
      'Use the repository in the GPTQ format, or the unquantized one.',
    );
  }
  const dynamic = readDynamic(config);
  return {
    name: `GPTQ ${common.bits} bits`,
    exclusions: exclusionsOf(config, ['modules_to_not_convert'], { isStrict: false }),
    addsBiases: true,
    place: (name) => renamedPlace(name, 'qweight'),
    open: (module) =>
      openLayer(module, dynamic.find(({ pattern }) => pattern.test(module.prefix))?.settings ?? common, format),
  };
}

function readSettings(config: ConfigReader, fallback: ConfigReader): Settings {
  const bits = config.optionalInteger('bits') ?? fallback.integer('bits');
  if (!BITS.includes(bits)) {
    throw new ConfigError(`${config.fileName}: GPTQ with ${bits} bits is not read, only with ${BITS.join(', ')}.`);
  }
  const groupSize =
    config.optionalInteger('group_size', { min: -1 }) ?? fallback.integer('group_size', { min: -1, default: 128 });
  return { bits, groupSize: groupSize > 0 ? groupSize : Infinity };
}

/** Settings by regular expressions over the layers' names: `+:` and none go before them, `-:` leaves layers alone. */
function readDynamic(config: ConfigReader): { readonly pattern: RegExp; readonly settings: Settings }[] {
  const section = config.section('dynamic');
  return (section?.keys() ?? []).flatMap((key) => {
    const settings = section?.section(key);
    if (key.startsWith('-:') || settings === undefined) return [];
    const pattern = regularExpression(key.replace(/^\+:/, ''), `${config.fileName}: 'dynamic'`);
    return [{ pattern, settings: readSettings(settings, config) }];
  });
}

function openLayer(
  module: QuantizedModule,
  { bits, groupSize }: Settings,
  format: 'gptq' | 'gptq_v2',
): Promise<QuantizedTensor> {
  const codes = { name: module.codesName, tensor: module.codes };
  module.checkDType(codes, ['I32', 'U32']);
  module.checkMatrix();
  const [words, outputs] = module.codes.shape;
  const inputs = (words * 32) / bits;
  if (!Number.isInteger(inputs))
    throw module.damaged(`'${codes.name}' has ${words} rows, which codes of ${bits} bits do not fill.`);
  const size = Math.min(groupSize, inputs);
  const [scales, zeros, order] = [module.require('scales'), module.require('qzeros'), module.find('g_idx')];
  module.checkGroups(inputs, size);
  module.checkDType(scales, ['F16', 'BF16', 'F32']);
  module.checkShape(scales, [inputs / size, outputs]);
  module.checkDType(zeros, ['I32', 'U32']);
  module.checkShape(zeros, [inputs / size, (outputs * bits) / 32]);
  if (order !== undefined) {
    module.checkDType(order, ['I32']);
    module.checkShape(order, [inputs]);
  }
  const added = format === 'gptq' ? 1 : 0;
  return module.scaled(
    [outputs, inputs],
    {
      format: `GPTQ int${bits}`,
      code: 'uint',
      bits,
      rowsPerScale: 1,
      columnsPerScale: size,
      scale: scales.tensor.dtype,
      offset: 'zero point',
      isReordered: order !== undefined,
      order: 'columns',
    },
    {
      columns: inputs,
      codes: inputPackedCodes(module.codes, bits, inputs),
      scales: transposedScales(scales.tensor),
      zeroPoints: outputPackedZeros(zeros.tensor, bits, { added }),
      columnsPerScale: size,
      groupOfColumn: order && (() => readGroupIndex(module, order, inputs / size, size)),
    },
  );
}
