import { MODEL_SHAPES, type ModelShape } from '../src/bench/model-shapes.ts';
import type { Checkpoint } from '../src/checkpoint/checkpoint.ts';
import type { JsonObject } from '../src/checkpoint/json/json.ts';
import { BLOCK_FORMATS } from '../src/tensor/block-formats.ts';
import { float16Bits } from '../src/tensor/float16.ts';
import { elementCount } from '../src/tensor/tensor.ts';
import { BYTES_OF_CHARACTERS } from '../src/text/byte-alphabet.ts';
import { ggufFalconH1 } from './gguf-falcon-h1.ts';
import { ggufGraniteHybrid } from './gguf-granite-hybrid.ts';
import { ggufMamba2 } from './gguf-mamba2.ts';
import type { GgufModel } from './gguf-tensors.ts';
import { type GgufBlocks, type GgufDType, type GgufTensor, type GgufValue, writeGguf } from './gguf-writer.ts';

/** By `model_type`. */
const WRITERS: Readonly<Record<string, (json: JsonObject, dtype: GgufDType) => GgufModel>> = {
  mamba2: ggufMamba2,
  granitemoehybrid: ggufGraniteHybrid,
  falcon_h1: ggufFalconH1,
};

/**
 * Writes a model of random weights as llama.cpp reads it, as its own converter would from a checkpoint.
 *
 * @param dtype of the matrices; everything else is F32, as llama.cpp wants it.
 * @param vocabulary none if token ids are made up and the text is never read; made up if the program needs a text.
 */
export async function writeSyntheticGguf(
  path: string,
  shape: ModelShape,
  dtype: GgufDType,
  vocabulary: 'none' | 'made up' = 'none',
): Promise<void> {
  const json: JsonObject = MODEL_SHAPES[shape];
  const { architecture, metadata, tensors } = WRITERS[`${json.model_type}`](json, dtype);
  const all = new Map<string, GgufValue>([
    ['general.architecture', architecture],
    ['general.name', shape],
    ...metadata.map(([key, value]) => [`${architecture}.${key}`, value] as const),
    ...(vocabulary === 'none' ? NO_VOCABULARY : madeUpVocabulary(Number(json.vocab_size))),
  ]);
  await writeGguf(path, all, tensors);
}

/** A trained Mamba-2 as llama.cpp's converter would write it, but with a made-up vocabulary: only ids are used. */
export async function writeTrainedMamba2(path: string, checkpoint: Checkpoint, dtype: GgufDType): Promise<void> {
  const { architecture, metadata, tensors } = ggufMamba2(checkpoint.config, dtype);
  const all = new Map<string, GgufValue>([
    ['general.architecture', architecture],
    ...metadata.map(([key, value]) => [`${architecture}.${key}`, value] as const),
    ...madeUpVocabulary(Number(checkpoint.config.vocab_size)),
  ]);
  const trained: GgufTensor[] = [];
  for (const tensor of tensors) {
    const stored = await checkpoint.readFloat32(tensor.ourName);
    const values = tensor.name.endsWith('.ssm_a') ? stored.map((logA) => -Math.exp(logA)) : stored;
    trained.push({ ...tensor, values: () => values });
  }
  await writeGguf(path, all, trained);
}

/** Number of a model's weights. */
export function parameterCount(shape: ModelShape): number {
  const json: JsonObject = MODEL_SHAPES[shape];
  const { tensors } = WRITERS[`${json.model_type}`](json, 'BF16');
  return tensors.reduce((sum, tensor) => sum + elementCount(tensor.shape), 0);
}

/**
 * A file of the sizes that a real one has, which is made quickly: matrices of random blocks, in the types that llama.cpp
 * chooses for most matrices of the quantization, and a byte-pair vocabulary with merges.
 */
export async function writeRandomGguf(
  path: string,
  shape: ModelShape,
  quantization: RandomQuantization,
): Promise<void> {
  const json: JsonObject = MODEL_SHAPES[shape];
  const { architecture, metadata, tensors } = WRITERS[`${json.model_type}`](json, 'BF16');
  const all = new Map<string, GgufValue>([
    ['general.architecture', architecture],
    ['general.name', shape],
    ...metadata.map(([key, value]) => [`${architecture}.${key}`, value] as const),
    ...bytePairVocabulary(Number(json.vocab_size)),
  ]);
  const noise = makeNoise();
  const quantized = tensors.map((tensor): GgufTensor | GgufBlocks => {
    if (tensor.dtype === 'F32') return tensor;
    const { name, shape: size } = tensor;
    const isTable = name === 'token_embd.weight';
    const { table, rest } = RANDOM_QUANTIZATIONS[quantization];
    const chosen = isTable ? table : rest;
    return { name, shape: size, dtype: chosen, blocks: () => randomBlocks(chosen, size, noise) };
  });
  await writeGguf(path, all, quantized);
}

/** Types of a random file's table, which is the head as well, and of its other matrices. */
const RANDOM_QUANTIZATIONS = {
  Q8_0: { table: 'Q8_0', rest: 'Q8_0' },
  Q4_0: { table: 'Q6_K', rest: 'Q4_0' },
  Q4_K_M: { table: 'Q6_K', rest: 'Q4_K' },
  NVFP4: { table: 'Q8_0', rest: 'NVFP4' },
} as const satisfies Readonly<Record<string, Record<string, GgufBlocks['dtype']>>>;

/** A quantization of {@link writeRandomGguf}. */
export type RandomQuantization = keyof typeof RANDOM_QUANTIZATIONS;

export function isRandomQuantization(format: string): format is RandomQuantization {
  return Object.hasOwn(RANDOM_QUANTIZATIONS, format);
}

/** Sizes of llama.cpp's blocks, and where their scales lie: float16, but pairs of UE4M3 with NVFP4. */
const BLOCKS: Readonly<
  Record<GgufBlocks['dtype'], { blockValues: number; blockBytes: number; scales: readonly number[] }>
> = { ...BLOCK_FORMATS, NVFP4: { blockValues: 64, blockBytes: 36, scales: [0, 2] } };

/**
 * The scales with which random codes give values of about ±limit, and a mean near 0. Q4_K has a scale and a minimum, each
 * times 6 bits; Q6_K a scale times 8 bits.
 */
const SCALES: Readonly<Record<GgufBlocks['dtype'], (limit: number) => readonly number[]>> = {
  Q8_0: (limit) => [float16Bits(limit / 127)],
  Q4_0: (limit) => [float16Bits(limit / 8)],
  Q4_K: (limit) => [float16Bits((2 * limit) / (63 * 15)), float16Bits(limit / 63)],
  Q6_K: (limit) => [float16Bits(limit / (127 * 32))],
  // About 0.01 for any limit: smaller ones are not among its numbers.
  NVFP4: () => [0x0c0c, 0x0c0c],
};

/** Blocks with the noise as codes, and values as large as a fresh model's. */
export function randomBlocks(format: GgufBlocks['dtype'], shape: readonly number[], noise: Uint16Array): Uint8Array {
  const { blockValues, blockBytes, scales } = BLOCKS[format];
  const values = SCALES[format](1 / Math.sqrt(shape[shape.length - 1]));
  const bytes = (elementCount(shape) / blockValues) * blockBytes;
  // Blocks have even sizes, and scales even places.
  const halves = new Uint16Array(bytes / 2);
  for (let at = 0; at < halves.length; at += noise.length) halves.set(noise.subarray(0, halves.length - at), at);
  for (const [i, place] of scales.entries()) {
    for (let at = place / 2; at < halves.length; at += blockBytes / 2) halves[at] = values[i];
  }
  return new Uint8Array(halves.buffer);
}

/** Codes of all matrices of a file: 8 MB, again and again. */
export function makeNoise(): Uint16Array {
  const noise = new Uint16Array(2 ** 22);
  const random = randomNumbers();
  for (let i = 0; i < noise.length; i++) noise[i] = random();
  return noise;
}

/** Xorshift of 32 bits, always from the same start. */
function randomNumbers(): () => number {
  let state = 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** A vocabulary as training makes it: a control token, the bytes, and tokens that merge two of those before them. */
function bytePairVocabulary(size: number): readonly [string, GgufValue][] {
  const tokens = [...BYTES_OF_CHARACTERS.keys()].map((character) => String.fromCharCode(character));
  const known = new Set(tokens);
  const merges: string[] = [];
  const random = randomNumbers();
  while (tokens.length < size - 1) {
    const [left, right] = [tokens[random() % tokens.length], tokens[random() % tokens.length]];
    if (left.length + right.length > 12 || known.has(left + right)) continue;
    known.add(left + right);
    tokens.push(left + right);
    merges.push(`${left} ${right}`);
  }
  return [
    ['tokenizer.ggml.model', 'gpt2'],
    ['tokenizer.ggml.pre', 'dbrx'],
    ['tokenizer.ggml.tokens', { strings: ['<|end_of_text|>', ...tokens] }],
    ['tokenizer.ggml.token_type', { int32s: [3, ...tokens.map(() => 1)] }],
    ['tokenizer.ggml.merges', { strings: merges }],
    ['tokenizer.ggml.bos_token_id', { uint32: 0 }],
    ['tokenizer.ggml.eos_token_id', { uint32: 0 }],
    ['tokenizer.ggml.add_bos_token', false],
  ];
}

const NO_VOCABULARY: readonly [string, GgufValue][] = [['tokenizer.ggml.model', 'none']];

/**
 * Tokens 1 to 26 are the small letters, which no merge joins, so that a text of letters has as many tokens; any other is
 * its number. All of it is ASCII, so that any tokens at all make valid text.
 */
function madeUpVocabulary(size: number): readonly [string, GgufValue][] {
  return [
    ['tokenizer.ggml.model', 'gpt2'],
    ['tokenizer.ggml.pre', 'default'],
    ['tokenizer.ggml.tokens', { strings: Array.from({ length: size }, (_, id) => tokenText(id)) }],
    ['tokenizer.ggml.token_type', { int32s: Array.from({ length: size }, () => 1) }],
    ['tokenizer.ggml.merges', { strings: [] }],
    ['tokenizer.ggml.bos_token_id', { uint32: 0 }],
    ['tokenizer.ggml.eos_token_id', { uint32: 0 }],
    ['tokenizer.ggml.add_bos_token', false],
  ];
}

function tokenText(id: number): string {
  return id >= 1 && id <= 26 ? String.fromCharCode(96 + id) : `<${id}>`;
}
