import { ConfigError } from '../../../errors.ts';
import { E4M3, E8M0 } from '../../../tensor/small-floats.ts';
import { formatShape } from '../../../tensor/tensor.ts';
import type { ConfigReader } from '../../json/config-reader.ts';
import { byteCodes, packedCodes } from '../decode/codes.ts';
import { type FactorReader, PackedRowFactors } from '../decode/factors.ts';
import { exclusionsOf } from '../weights/exclusions.ts';
import { LayerPatterns } from '../weights/layer-patterns.ts';
import { type QuantizationMethod, renamedPlace, samePlace } from '../weights/quantization-method.ts';
import {
  type CodesPlace,
  type Coverage,
  PER_CHANNEL,
  PER_TENSOR,
  perGroup,
  type QuantizedModule,
} from '../weights/quantized-module.ts';
import type { QuantizedTensor } from '../weights/quantized-tensor.ts';
import { openFp4 } from './fp4.ts';
import { isFp8, openFp8 } from './fp8.ts';
import { packedWords, readGroupIndex } from './integers.ts';

/** How the weights of some layers were quantised. */
interface Scheme {
  readonly where: string;
  readonly type: 'int' | 'float';
  readonly bits: number;
  readonly coverage: Coverage;
  readonly isSymmetric: boolean;
}

/** A scheme and the layers that it is for. */
interface Group {
  readonly targets: LayerPatterns;
  readonly scheme: Scheme;
}

const FORMATS = [
  'float-quantized',
  'int-quantized',
  'naive-quantized',
  'pack-quantized',
  'nvfp4-pack-quantized',
  'mxfp4-pack-quantized',
  'mxfp8-quantized',
  'mixed-precision',
  'dense',
] as const;

/**
 * compressed-tensors, as llm-compressor and vLLM write it. Which layers have which scheme is in `config_groups`; how a scheme
 * lies in the file follows from its type and bits, and from the tensors that are there.
 */
export function compressedTensorsMethod(config: ConfigReader): QuantizationMethod {
  refuseOther(config);
  const groups = readGroups(config);
  return {
    name: `compressed-tensors ${config.string('format', { default: 'dense' })}`,
    exclusions: exclusionsOf(config, ['ignore'], { isStrict: true }),
    place: (name, tensor) =>
      packedPlace(name) ?? (isFp8(tensor) || tensor.dtype === 'I8' ? samePlace(name) : undefined),
    open: (module) => openLayer(module, schemeOf(module, groups, config)),
  };
}

/** Stacks of experts without `.weight` in their names have companions that go on with `_`. */
function packedPlace(name: string): CodesPlace | undefined {
  if (name.endsWith('.weight_packed') || !name.endsWith('_packed')) return renamedPlace(name, 'weight_packed');
  const prefix = name.slice(0, -'_packed'.length);
  return { prefix, weight: prefix };
}

/** Refuses what changes weights in other ways than to round them. @throws ConfigError */
function refuseOther(config: ConfigReader): void {
  config.oneOf('format', FORMATS, { default: 'dense' });
  const sparsity = config.section('sparsity_config')?.optionalString('format') ?? 'dense';
  const transforms = config.section('transform_config')?.section('config_groups')?.keys() ?? [];
  if (sparsity === 'dense' && transforms.length === 0) return;
  throw new ConfigError(
    `${config.fileName}: ${sparsity === 'dense' ? "'transform_config', which rotates weights," : `the sparse format '${sparsity}'`} is not read.`,
    'Use the unquantized repository; dtype int8 or int4 quantizes its weights while they are loaded.',
  );
}

function readGroups(config: ConfigReader): Group[] {
  const section = config.section('config_groups');
  const groups = (section?.keys() ?? []).flatMap((name): Group[] => {
    const group = section?.section(name);
    const weights = group?.section('weights');
    if (group === undefined || weights === undefined) return [];
    const targets = group.optionalList<string>('targets', (target) => typeof target === 'string', 'a list of names');
    return [
      {
        targets: new LayerPatterns(targets ?? ['Linear'], `${group.fileName}: 'targets'`, 'exact'),
        scheme: readScheme(weights),
      },
    ];
  });
  // Caches alone may have been quantised.
  if (groups.length > 0 || config.has('kv_cache_scheme')) return groups;
  throw new ConfigError(
    `${config.fileName}: 'config_groups' says of no layer how its weights are quantized.`,
    'Compare with the file of the original model.',
  );
}

function readScheme(weights: ConfigReader): Scheme {
  const type = weights.oneOf('type', ['int', 'float'] as const, { default: 'int' });
  const bits = weights.integer('num_bits', { min: 1, max: 8, default: 8 });
  if (type === 'float' && bits !== 4 && bits !== 8) {
    throw new ConfigError(`${weights.fileName}: floats of ${bits} bits are not read, only those of 4 and 8.`);
  }
  return {
    where: weights.fileName,
    type,
    bits,
    coverage: readCoverage(weights),
    isSymmetric: weights.boolean('symmetric', { default: true }),
  };
}

function readCoverage(weights: ConfigReader): Coverage {
  const size = weights.optionalInteger('group_size');
  const block = weights.numbers('block_structure', 2, []);
  const implied = block.length > 0 ? 'block' : size === undefined ? 'tensor' : size > 0 ? 'group' : 'channel';
  const strategy = weights.oneOf('strategy', ['tensor', 'channel', 'group', 'block', 'tensor_group'] as const, {
    default: implied,
  });
  switch (strategy) {
    case 'tensor':
      return PER_TENSOR;
    case 'channel':
      return PER_CHANNEL;
    case 'group':
    case 'tensor_group':
      return perGroup(weights.integer('group_size', { min: 1 }));
    case 'block': {
      const [rowsPerScale, columnsPerScale] = weights.numbers('block_structure', 2, [128, 128]);
      if (
        Number.isSafeInteger(rowsPerScale) &&
        Number.isSafeInteger(columnsPerScale) &&
        rowsPerScale > 0 &&
        columnsPerScale > 0
      ) {
        return { rowsPerScale, columnsPerScale };
      }
      throw new ConfigError(
        `${weights.fileName}: 'block_structure' is [${block}], expected two whole numbers from 1 on.`,
      );
    }
  }
}

/** As vLLM chooses: a group that names the layer before one that names its class. @throws ConfigError */
function schemeOf({ prefix, codesName }: QuantizedModule, groups: readonly Group[], config: ConfigReader): Scheme {
  const named = groups.find(({ targets }) => targets.matches(prefix));
  // Names of classes: Linear above all. Which class a layer is of, the weights do not say.
  const ofClass = groups.find(({ targets }) => targets.entries.some((entry) => /^[A-Z]\w*$/.test(entry)));
  const group = named ?? ofClass;
  if (group !== undefined) return group.scheme;
  throw new ConfigError(
    `${config.fileName}: no group of 'config_groups' has '${prefix}' among its targets, but '${codesName}' is quantized.`,
    'Compare with the file of the original model.',
  );
}

async function openLayer(module: QuantizedModule, scheme: Scheme): Promise<QuantizedTensor> {
  const isPacked = module.codesName.endsWith('_packed');
  if (scheme.type === 'float') return isPacked ? openPackedFp4(module, scheme) : openFloats(module, scheme);
  return isPacked ? openPackedIntegers(module, scheme) : openIntegers(module, scheme);
}

function openFloats(module: QuantizedModule, { bits, coverage, where }: Scheme): Promise<QuantizedTensor> {
  module.checkDType({ name: module.codesName, tensor: module.codes }, ['F8_E4M3', 'F8_E5M2']);
  if (bits !== 8) throw contradiction(module, where, `floats of ${bits} bits`);
  const { shape } = module.codes;
  if (coverage.rowsPerScale === 1) module.checkGroups(shape[shape.length - 1], coverage.columnsPerScale);
  return openFp8(module, 'compressed-tensors FP8', module.require('weight_scale'), coverage);
}

/** NVFP4, whose scales of groups are divided by a global one, and MXFP4, whose scales are powers of two. */
function openPackedFp4(module: QuantizedModule, { bits, coverage, where }: Scheme): Promise<QuantizedTensor> {
  module.checkDType({ name: module.codesName, tensor: module.codes }, ['U8']);
  if (bits !== 4 || coverage.columnsPerScale === Infinity) throw contradiction(module, where, `floats of ${bits} bits`);
  const scales = module.require('weight_scale');
  const isMx = coverage.columnsPerScale === 32 && scales.tensor.dtype !== 'F8_E4M3';
  module.checkDType(scales, isMx ? ['U8', 'F8_E8M0'] : ['F8_E4M3']);
  return openFp4(module, {
    format: isMx ? 'compressed-tensors MXFP4' : 'compressed-tensors NVFP4',
    groupSize: coverage.columnsPerScale,
    scales: { tensor: scales, values: isMx ? E8M0 : E4M3 },
    ...(isMx ? {} : { global: { named: module.require('weight_global_scale'), isReciprocal: true } }),
  });
}

/** Whole numbers of a byte each. */
function openIntegers(module: QuantizedModule, scheme: Scheme): Promise<QuantizedTensor> {
  module.checkDType({ name: module.codesName, tensor: module.codes }, ['I8']);
  module.checkMatrix();
  const zeroPoints = scheme.isSymmetric ? module.find('weight_zero_point') : module.require('weight_zero_point');
  if (zeroPoints !== undefined) module.checkDType(zeroPoints, ['I8']);
  const { shape } = module.codes;
  const zeros = zeroPoints && module.factors(zeroPoints, shape, scheme.coverage, { values: 'signed' });
  return openScaled(module, scheme, shape, byteCodes(module.codes, 'signed'), zeros);
}

/** Whole numbers of fewer bits, of which the lowest code is the least, in words of 32 bits. */
async function openPackedIntegers(module: QuantizedModule, scheme: Scheme): Promise<QuantizedTensor> {
  const { bits, coverage } = scheme;
  module.checkDType({ name: module.codesName, tensor: module.codes }, ['I32', 'U32']);
  module.checkMatrix();
  const { shape: stored } = module.codes;
  const shape = await logicalShape(module, scheme);
  const columns = shape[shape.length - 1];
  const rows = shape[shape.length - 2];
  const foundWords = stored[stored.length - 1];
  const words = packedWords(columns, bits);
  if (foundWords !== words.dense && foundWords !== words.whole) {
    module.checkShape({ name: module.codesName, tensor: module.codes }, [...shape.slice(0, -1), words.dense]);
  }
  let perWord = foundWords === words.dense ? undefined : Math.floor(32 / bits);
  const zeroPoints = scheme.isSymmetric ? undefined : module.require('weight_zero_point');
  if (scheme.isSymmetric) module.find('weight_zero_point');
  let zeros: FactorReader | undefined;
  if (zeroPoints !== undefined && coverage.rowsPerScale === Infinity) {
    module.checkDType(zeroPoints, ['I8']);
    zeros = module.factors(zeroPoints, shape, coverage, { values: 'signed' });
  } else if (zeroPoints !== undefined) {
    module.checkDType(zeroPoints, ['I32', 'U32']);
    const groups = coverage.columnsPerScale === Infinity ? 1 : columns / coverage.columnsPerScale;
    const zeroWords = packedWords(rows, bits);
    const foundRows = zeroPoints.tensor.shape[zeroPoints.tensor.shape.length - 2];
    // A few columns take as many words in both ways; the rows then tell.
    if (words.dense === words.whole && foundRows !== zeroWords.dense) perWord = Math.floor(32 / bits);
    const expected = perWord === undefined ? zeroWords.dense : zeroWords.whole;
    module.checkShape(zeroPoints, [...shape.slice(0, -2), expected, groups]);
    zeros = new PackedRowFactors(zeroPoints.tensor, groups, bits, perWord);
  }
  const codes = packedCodes(module.codes, { bits, columns, values: 2 ** (bits - 1), perWord });
  return openScaled(module, scheme, shape, codes, zeros);
}

/** Shape of the weight: that of the codes does not say how many the last word holds. */
async function logicalShape(module: QuantizedModule, { bits }: Scheme): Promise<number[]> {
  const { shape: stored } = module.codes;
  const leading = stored.slice(0, -1);
  const said = module.find('weight_shape');
  if (said === undefined) return [...leading, Math.floor((stored[stored.length - 1] * 32) / bits)];
  module.checkDType(said, ['I64', 'I32']);
  const bytes = await said.tensor.readBytes();
  const values =
    said.tensor.dtype === 'I64' ? [...new BigInt64Array(bytes.buffer)].map(Number) : [...new Int32Array(bytes.buffer)];
  const [columns] = values.slice(-1);
  const rows = values.slice(0, -1).reduce((product, extent) => product * extent, 1);
  if (values.length >= 2 && columns > 0 && rows === leading.reduce((product, extent) => product * extent, 1)) {
    return [...leading, columns];
  }
  throw module.damaged(
    `'${said.name}' says ${formatShape(values)}, but '${module.codesName}' has shape ${formatShape(stored)}.`,
  );
}

function openScaled(
  module: QuantizedModule,
  { bits, coverage }: Scheme,
  shape: readonly number[],
  codes: ReturnType<typeof byteCodes>,
  zeroPoints: FactorReader | undefined,
): Promise<QuantizedTensor> {
  const columns = shape[shape.length - 1];
  const { rowsPerScale, columnsPerScale } = coverage;
  if (rowsPerScale === 1) module.checkGroups(columns, columnsPerScale);
  const scales = module.require('weight_scale');
  const factors = module.factors(scales, shape, coverage);
  const order = module.find('weight_g_idx');
  if (order !== undefined) {
    module.checkDType(order, ['I32']);
    module.checkShape(order, [...shape.slice(0, -2), columns]);
  }
  return module.scaled(
    shape,
    {
      format: `compressed-tensors int${bits}`,
      code: 'int',
      bits,
      rowsPerScale,
      columnsPerScale,
      scale: scales.tensor.dtype,
      offset: zeroPoints === undefined ? 'none' : 'zero point',
      isReordered: order !== undefined,
      order: 'rows',
    },
    {
      columns,
      codes,
      scales: factors,
      zeroPoints,
      columnsPerScale,
      groupOfColumn: order && (() => readGroupIndex(module, order, factors.groups, columnsPerScale)),
    },
  );
}

function contradiction({ codesName, codes }: QuantizedModule, where: string, said: string): ConfigError {
  return new ConfigError(
    `${where} says ${said}, but '${codesName}' is stored as ${codes.dtype}.`,
    'Compare with the file of the original model.',
  );
}
