import { MODEL_SHAPES, type ModelShape } from '../src/engine/model-shapes.ts';
import { syntheticWeight } from '../src/engine/synthetic-weights.ts';
import { readMamba2Config } from '../src/models/mamba2-config.ts';
import { type GgufDType, type GgufTensor, type GgufValue, writeGguf } from './gguf-writer.ts';

/** The seed of `mamba2 bench`, so that both sides run the same model. */
const SEED = 0;

/**
 * Writes a model of random weights as llama.cpp reads Mamba-2, as its own converter would from a checkpoint.
 *
 * @param dtype of the matrices; everything else is F32, as llama.cpp wants it.
 * @param vocabulary none where token ids are made up and nobody reads the text; made up where the program insists on text.
 */
export async function writeSyntheticGguf(
  path: string,
  shape: ModelShape,
  dtype: GgufDType,
  vocabulary: 'none' | 'made up' = 'none',
): Promise<void> {
  const config = readMamba2Config(MODEL_SHAPES[shape]);
  const uint32 = (value: number) => ({ uint32: value });
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', 'mamba2'],
    ['general.name', shape],
    ['mamba2.context_length', uint32(2 ** 20)],
    ['mamba2.embedding_length', uint32(config.hiddenSize)],
    ['mamba2.feed_forward_length', uint32(0)],
    ['mamba2.attention.head_count', uint32(0)],
    ['mamba2.attention.layer_norm_rms_epsilon', { float32: config.layerNormEpsilon }],
    ['mamba2.block_count', uint32(config.numHiddenLayers)],
    ['mamba2.vocab_size', uint32(config.vocabSize)],
    ['mamba2.ssm.conv_kernel', uint32(config.convKernel)],
    ['mamba2.ssm.inner_size', uint32(config.intermediateSize)],
    ['mamba2.ssm.state_size', uint32(config.stateSize)],
    ['mamba2.ssm.time_step_rank', uint32(config.numHeads)],
    ['mamba2.ssm.group_count', uint32(config.nGroups)],
    ...(vocabulary === 'none' ? NO_VOCABULARY : madeUpVocabulary(config.vocabSize)),
  ]);
  await writeGguf(path, metadata, tensors(config, dtype));
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

function tensors(config: ReturnType<typeof readMamba2Config>, dtype: GgufDType): GgufTensor[] {
  const { vocabSize, hiddenSize, intermediateSize, numHeads, nGroups, stateSize, convKernel } = config;
  const convDim = intermediateSize + 2 * nGroups * stateSize;
  const all = [
    matrix('token_embd.weight', 'backbone.embeddings.weight', [vocabSize, hiddenSize], dtype),
    exact('output_norm.weight', 'backbone.norm_f.weight', [hiddenSize]),
  ];
  if (!config.tieWordEmbeddings) all.push(matrix('output.weight', 'lm_head.weight', [vocabSize, hiddenSize], dtype));
  for (let i = 0; i < config.numHiddenLayers; i++) {
    const [ours, theirs] = [`backbone.layers.${i}`, `blk.${i}`];
    const decay = exact(`${theirs}.ssm_a`, `${ours}.mixer.A_log`, [numHeads, 1]);
    all.push(
      exact(`${theirs}.attn_norm.weight`, `${ours}.norm.weight`, [hiddenSize]),
      matrix(
        `${theirs}.ssm_in.weight`,
        `${ours}.mixer.in_proj.weight`,
        [intermediateSize + convDim + numHeads, hiddenSize],
        dtype,
      ),
      exact(
        `${theirs}.ssm_conv1d.weight`,
        `${ours}.mixer.conv1d.weight`,
        [convDim, convKernel],
        [convDim, 1, convKernel],
      ),
      exact(`${theirs}.ssm_conv1d.bias`, `${ours}.mixer.conv1d.bias`, [convDim]),
      exact(`${theirs}.ssm_dt.bias`, `${ours}.mixer.dt_bias`, [numHeads]),
      { ...decay, values: () => decay.values().map((logA) => -Math.exp(logA)) },
      exact(`${theirs}.ssm_d`, `${ours}.mixer.D`, [numHeads, 1]),
      exact(
        `${theirs}.ssm_norm.weight`,
        `${ours}.mixer.norm.weight`,
        [nGroups, intermediateSize / nGroups],
        [intermediateSize],
      ),
      matrix(`${theirs}.ssm_out.weight`, `${ours}.mixer.out_proj.weight`, [hiddenSize, intermediateSize], dtype),
    );
  }
  return all;
}

function matrix(name: string, ourName: string, shape: readonly number[], dtype: GgufDType): GgufTensor {
  return { name, shape, dtype, values: () => syntheticWeight(ourName, shape, SEED) };
}

/** @param ourShape where a checkpoint has it otherwise. */
function exact(name: string, ourName: string, shape: readonly number[], ourShape = shape): GgufTensor {
  // A column of one is a vector to us.
  const whole = ourShape.length === 2 && ourShape[1] === 1 ? [ourShape[0]] : ourShape;
  return { name, shape, dtype: 'F32', values: () => syntheticWeight(ourName, whole, SEED) };
}
