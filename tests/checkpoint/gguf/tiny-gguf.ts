import { type Bytes, floats, TENSOR_TYPES, type TensorToWrite, value, writeGguf } from './gguf-writer.ts';

const HIDDEN = 32;
const INNER = 64;
const HEADS = 4;
const STATE = 16;
const VOCAB = 32;
const CONV_CHANNELS = INNER + 2 * STATE;

const metadata: Readonly<Record<string, Bytes>> = {
  'general.architecture': value.string('mamba2'),
  'mamba2.block_count': value.u32(1),
  'mamba2.context_length': value.u32(1024),
  'mamba2.embedding_length': value.u32(HIDDEN),
  'mamba2.feed_forward_length': value.u32(0),
  'mamba2.attention.head_count': value.u32(0),
  'mamba2.attention.layer_norm_rms_epsilon': value.f32(1e-5),
  'mamba2.vocab_size': value.u32(VOCAB),
  'mamba2.ssm.conv_kernel': value.u32(4),
  'mamba2.ssm.inner_size': value.u32(INNER),
  'mamba2.ssm.state_size': value.u32(STATE),
  'mamba2.ssm.time_step_rank': value.u32(HEADS),
  'mamba2.ssm.group_count': value.u32(1),
  'tokenizer.ggml.model': value.string('none'),
};

const shapes: readonly (readonly [string, readonly number[]])[] = [
  ['token_embd.weight', [VOCAB, HIDDEN]],
  ['output_norm.weight', [HIDDEN]],
  ['blk.0.attn_norm.weight', [HIDDEN]],
  ['blk.0.ssm_in.weight', [2 * INNER + 2 * STATE + HEADS, HIDDEN]],
  ['blk.0.ssm_conv1d.weight', [CONV_CHANNELS, 4]],
  ['blk.0.ssm_conv1d.bias', [CONV_CHANNELS]],
  ['blk.0.ssm_dt.bias', [HEADS]],
  ['blk.0.ssm_a', [HEADS, 1]],
  ['blk.0.ssm_d', [HEADS, 1]],
  ['blk.0.ssm_norm.weight', [1, INNER]],
  ['blk.0.ssm_out.weight', [HIDDEN, INNER]],
];

const tensors: readonly TensorToWrite[] = shapes.map(([name, shape], seed) => {
  const count = shape.reduce((product, size) => product * size, 1);
  // A is negative; the others are of any sign.
  const numbers = Array.from({ length: count }, (_, i) =>
    name.endsWith('_a') ? -1 - i / 4 : Math.sin(seed + i * 1.7),
  );
  return { name, shape, data: floats(...numbers) };
});

/**
 * A model of one layer in F32, without a tokenizer.
 * @param types numbers of other types for some of the tensors, of which a value takes 4 bytes too.
 */
export function tinyGguf(name = 'tiny', types: Readonly<Record<string, number>> = {}): Uint8Array<ArrayBuffer> {
  return writeGguf({
    metadata: { ...metadata, 'general.name': value.string(name) },
    tensors: tensors.map((tensor) => ({ ...tensor, type: types[tensor.name] ?? TENSOR_TYPES.F32 })),
  });
}

/** The same model in two parts, of which the first has the metadata and no tensors. */
export function tinySplit(): readonly [Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>] {
  const split = { 'split.count': value.u32(2), 'split.tensors.count': value.u32(tensors.length) };
  return [
    writeGguf({ metadata: { ...metadata, ...split, 'split.no': value.u32(0) } }),
    writeGguf({ metadata: { ...split, 'split.no': value.u32(1) }, tensors }),
  ];
}
