import {
  awq,
  bnb4,
  bnb8,
  compressedIntegers,
  fp8,
  gptq,
  inputScale,
  mlxAffine,
  mx,
  nvfp4,
  type Packer,
} from './packers.ts';

/** A way to quantise that must be read. */
export interface QuantizationCase {
  readonly name: string;
  /** Keys of config.json. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Other files. */
  readonly files?: Readonly<Record<string, unknown>>;
  readonly pack: Packer;
  /** What columns must be a multiple of, and rows. */
  readonly columns?: number;
  readonly rows?: number;
  /** A whole model is tried, besides layers: one a method is enough where only the numbers differ. */
  readonly hasModel?: boolean;
}

const modelOpt = (algorithm: string, more = {}) => ({
  quantization_config: { quant_method: 'modelopt', quant_algo: algorithm, ignore: ['lm_head'], ...more },
});
const compressed = (format: string, weights: Record<string, unknown>) => ({
  quantization_config: {
    quant_method: 'compressed-tensors',
    format,
    ignore: ['lm_head'],
    config_groups: {
      group_0: { targets: ['Linear'], weights: { symmetric: true, ...weights }, input_activations: null },
    },
  },
});
const integers = (bits: number, more: Record<string, unknown>) => ({ type: 'int', num_bits: bits, ...more });
const mlx = (bits: number, groupSize: number, mode?: string) => {
  const quantization = { bits, group_size: groupSize, ...(mode && { mode }) };
  return { quantization, quantization_config: quantization };
};
const gptqConfig = (bits: number, more = {}) => ({
  quantization_config: { quant_method: 'gptq', bits, group_size: 32, desc_act: false, sym: false, ...more },
});
const bnb = (more: Record<string, unknown>) => ({ quantization_config: { quant_method: 'bitsandbytes', ...more } });
const PER_TENSOR = [Infinity, Infinity] as const;
const PER_CHANNEL = [1, Infinity] as const;

export const CASES: readonly QuantizationCase[] = [
  {
    name: 'ModelOpt FP8',
    config: modelOpt('FP8'),
    pack: fp8({ block: PER_TENSOR, scaleName: 'weight_scale', shape: () => [], extra: inputScale }),
    hasModel: true,
  },
  {
    name: 'ModelOpt FP8, a scale a row',
    config: modelOpt('FP8_PER_CHANNEL_PER_TOKEN'),
    pack: fp8({ block: PER_CHANNEL, scaleName: 'weight_scale', shape: ({ rows }) => [rows] }),
  },
  {
    name: 'ModelOpt FP8, blocks',
    config: modelOpt('fp8_pb_wo'),
    pack: fp8({ block: [128, 128], scaleName: 'weight_scale', shape: ({ rows, columns }) => [rows, 1, columns, 1] }),
  },
  {
    name: 'ModelOpt NVFP4',
    config: modelOpt('NVFP4', { group_size: 16 }),
    pack: nvfp4({ names: ['weight', 'weight_scale', 'weight_scale_2'], extra: inputScale }),
    columns: 16,
    hasModel: true,
  },
  {
    name: 'ModelOpt W4A16_NVFP4 in a file of its own',
    files: {
      'hf_quant_config.json': {
        producer: { name: 'modelopt' },
        quantization: {
          quant_algo: 'W4A16_NVFP4',
          kv_cache_quant_algo: 'FP8',
          exclude_modules: ['lm_head', '*.norm'],
        },
      },
    },
    pack: nvfp4({ names: ['weight', 'weight_scale', 'weight_scale_2'] }),
    columns: 16,
    hasModel: true,
  },
  {
    name: 'ModelOpt MXFP8',
    config: modelOpt('MXFP8'),
    pack: mx({ bits: 8, names: ['weight', 'weight_scale'], dtype: 'F8_E4M3' }),
    columns: 32,
  },
  {
    name: 'FP8, blocks of 128x128',
    config: {
      quantization_config: { quant_method: 'fp8', weight_block_size: [128, 128], activation_scheme: 'dynamic' },
    },
    pack: fp8({ block: [128, 128], scaleName: 'weight_scale_inv' }),
    hasModel: true,
  },
  {
    name: 'FP8, blocks of 32x16',
    config: { quantization_config: { quant_method: 'fp8', weight_block_size: [32, 16] } },
    pack: fp8({ block: [32, 16], scaleName: 'weight_scale_inv', scaleDType: 'BF16' }),
  },
  {
    name: 'FP8, one scale',
    config: { quantization_config: { quant_method: 'fp8', activation_scheme: 'static' } },
    pack: fp8({ block: PER_TENSOR, scaleName: 'weight_scale', shape: () => [1], extra: inputScale }),
  },
  {
    name: 'FP8 of another layout',
    config: { quantization_config: { quant_method: 'fp8' } },
    pack: fp8({ block: PER_CHANNEL, scaleName: 'weight_scale', scaleDType: 'F16', isE5M2: true }),
  },
  {
    name: 'fbgemm FP8',
    config: { quantization_config: { quant_method: 'fbgemm_fp8' } },
    pack: fp8({ block: PER_CHANNEL, scaleName: 'weight_scale' }),
  },
  {
    name: 'compressed-tensors float-quantized, a scale a row',
    config: compressed('float-quantized', { type: 'float', num_bits: 8, strategy: 'channel' }),
    pack: fp8({ block: PER_CHANNEL, scaleName: 'weight_scale', scaleDType: 'BF16' }),
    hasModel: true,
  },
  {
    name: 'compressed-tensors float-quantized, one scale',
    config: compressed('float-quantized', { type: 'float', num_bits: 8, strategy: 'tensor' }),
    pack: fp8({ block: PER_TENSOR, scaleName: 'weight_scale', shape: () => [1], extra: inputScale }),
  },
  {
    name: 'compressed-tensors float-quantized, blocks',
    config: compressed('float-quantized', { type: 'float', num_bits: 8, strategy: 'block', block_structure: [64, 32] }),
    pack: fp8({ block: [64, 32], scaleName: 'weight_scale' }),
  },
  {
    name: 'compressed-tensors int-quantized',
    config: compressed('int-quantized', integers(8, { strategy: 'channel' })),
    pack: compressedIntegers({ bits: 8, block: PER_CHANNEL, isPacked: false }),
    hasModel: true,
  },
  {
    name: 'compressed-tensors int-quantized, groups with zero points',
    config: compressed('int-quantized', integers(8, { strategy: 'group', group_size: 32, symmetric: false })),
    pack: compressedIntegers({ bits: 8, block: [1, 32], isPacked: false, isSymmetric: false, scaleDType: 'F32' }),
    columns: 32,
  },
  ...[2, 3, 4, 5, 6, 7, 8].map(
    (bits): QuantizationCase => ({
      name: `compressed-tensors pack-quantized, ${bits} bits`,
      config: compressed('pack-quantized', integers(bits, { strategy: 'group', group_size: 32 })),
      pack: compressedIntegers({ bits, block: [1, 32], isPacked: true }),
      columns: 32,
      hasModel: bits === 4,
    }),
  ),
  ...[3, 6].map(
    (bits): QuantizationCase => ({
      name: `compressed-tensors pack-quantized, ${bits} bits in whole words`,
      config: compressed('pack-quantized', integers(bits, { strategy: 'group', group_size: 32, symmetric: false })),
      pack: compressedIntegers({ bits, block: [1, 32], isPacked: true, hasWholeWords: true, isSymmetric: false }),
      columns: 32,
    }),
  ),
  ...[3, 4, 8].map(
    (bits): QuantizationCase => ({
      name: `compressed-tensors pack-quantized with zero points, ${bits} bits`,
      config: compressed('pack-quantized', integers(bits, { strategy: 'group', group_size: 16, symmetric: false })),
      pack: compressedIntegers({ bits, block: [1, 16], isPacked: true, isSymmetric: false, scaleDType: 'F16' }),
      columns: 16,
      hasModel: bits === 4,
    }),
  ),
  {
    name: 'compressed-tensors pack-quantized, a scale a row and zero points',
    config: compressed('pack-quantized', integers(4, { strategy: 'channel', symmetric: false })),
    pack: compressedIntegers({ bits: 4, block: PER_CHANNEL, isPacked: true, isSymmetric: false }),
  },
  {
    name: 'compressed-tensors pack-quantized, columns sorted',
    config: compressed('pack-quantized', integers(4, { strategy: 'group', group_size: 32, actorder: 'group' })),
    pack: compressedIntegers({ bits: 4, block: [1, 32], isPacked: true, isReordered: true }),
    columns: 32,
    hasModel: true,
  },
  {
    name: 'compressed-tensors nvfp4-pack-quantized',
    config: compressed('nvfp4-pack-quantized', {
      type: 'float',
      num_bits: 4,
      strategy: 'tensor_group',
      group_size: 16,
    }),
    pack: nvfp4({ names: ['weight_packed', 'weight_scale', 'weight_global_scale'], isReciprocal: true }),
    columns: 16,
    hasModel: true,
  },
  {
    name: 'compressed-tensors mxfp4-pack-quantized',
    config: compressed('mxfp4-pack-quantized', { type: 'float', num_bits: 4, strategy: 'group', group_size: 32 }),
    pack: mx({ bits: 4, names: ['weight_packed', 'weight_scale'], dtype: 'U8' }),
    columns: 32,
    hasModel: true,
  },
  {
    name: 'compressed-tensors mxfp8-quantized',
    config: compressed('mxfp8-quantized', { type: 'float', num_bits: 8, strategy: 'group', group_size: 32 }),
    pack: mx({ bits: 8, names: ['weight', 'weight_scale'], dtype: 'F8_E4M3', scaleDType: 'F8_E8M0' }),
    columns: 32,
  },
  ...[2, 3, 4, 8].map(
    (bits): QuantizationCase => ({
      name: `GPTQ, ${bits} bits`,
      config: gptqConfig(bits),
      pack: gptq({ bits, groupSize: 32 }),
      columns: 32,
      rows: bits === 3 ? 32 : 32 / bits,
      hasModel: bits === 4 || bits === 8,
    }),
  ),
  {
    name: 'GPTQ, columns sorted',
    config: gptqConfig(4, { desc_act: true }),
    pack: gptq({ bits: 4, groupSize: 32, isReordered: true }),
    columns: 32,
    rows: 8,
    hasModel: true,
  },
  {
    name: 'GPTQ of the second version in a file of its own',
    files: { 'quantize_config.json': { bits: 4, group_size: -1, checkpoint_format: 'gptq_v2' } },
    pack: gptq({ bits: 4, groupSize: Infinity, isSecondVersion: true }),
    columns: 8,
    rows: 8,
    hasModel: true,
  },
  {
    name: 'AWQ',
    config: {
      quantization_config: { quant_method: 'awq', bits: 4, group_size: 32, version: 'gemm', zero_point: true },
    },
    pack: awq({ groupSize: 32 }),
    columns: 32,
    rows: 8,
    hasModel: true,
  },
  {
    name: 'AWQ in a file of its own',
    files: { 'quant_config.json': { zero_point: true, q_group_size: 64, w_bit: 4, version: 'GEMM' } },
    pack: awq({ groupSize: 64 }),
    columns: 64,
    rows: 8,
  },
  ...[2, 3, 4, 5, 6, 8].map(
    (bits): QuantizationCase => ({
      name: `MLX, ${bits} bits`,
      config: mlx(bits, 32),
      pack: mlxAffine({ bits, groupSize: 32, dtype: bits === 5 ? 'F16' : 'BF16' }),
      columns: 32,
      hasModel: bits === 4,
    }),
  ),
  {
    name: 'MLX mxfp4',
    config: mlx(4, 32, 'mxfp4'),
    pack: mx({ bits: 4, names: ['weight', 'scales'], dtype: 'U32' }),
    columns: 32,
    hasModel: true,
  },
  {
    name: 'MLX nvfp4',
    config: mlx(4, 16, 'nvfp4'),
    pack: nvfp4({ names: ['weight', 'scales'], dtype: 'U32' }),
    columns: 16,
  },
  {
    name: 'MLX mxfp8',
    config: mlx(8, 32, 'mxfp8'),
    pack: mx({ bits: 8, names: ['weight', 'scales'], dtype: 'U32' }),
    columns: 32,
  },
  {
    name: 'bitsandbytes nf4, scales quantised too',
    config: bnb({ load_in_4bit: true, bnb_4bit_quant_type: 'nf4', bnb_4bit_use_double_quant: true }),
    pack: bnb4({ type: 'nf4', blockSize: 64, isDouble: true }),
    hasModel: true,
  },
  {
    name: 'bitsandbytes nf4',
    config: bnb({ load_in_4bit: true, bnb_4bit_quant_type: 'nf4' }),
    pack: bnb4({ type: 'nf4', blockSize: 64, isDouble: false }),
  },
  {
    name: 'bitsandbytes fp4',
    config: bnb({ load_in_4bit: true, bnb_4bit_quant_type: 'fp4' }),
    pack: bnb4({ type: 'fp4', blockSize: 128, isDouble: false }),
  },
  {
    name: 'bitsandbytes, 8 bits',
    config: bnb({ load_in_8bit: true }),
    pack: bnb8,
    hasModel: true,
  },
];
