import { MODEL_SHAPES, type ModelShape } from '../src/bench/model-shapes.ts';
import type { JsonObject } from '../src/checkpoint/json/json.ts';
import { ggufFalconH1 } from './gguf-falcon-h1.ts';
import { ggufGraniteHybrid } from './gguf-granite-hybrid.ts';
import { ggufMamba2 } from './gguf-mamba2.ts';
import type { GgufModel } from './gguf-tensors.ts';
import { type GgufDType, type GgufValue, writeGguf } from './gguf-writer.ts';

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
