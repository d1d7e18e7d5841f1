import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { type TensorToWrite, writeSafetensors } from '../../../src/checkpoint/safetensors/safetensors-writer.ts';
import { LLM } from '../../../src/engine/llm.ts';
import type { LoadOptions } from '../../../src/engine/load/load-options.ts';
import {
  ArgumentError,
  ConfigError,
  EmptyPromptError,
  MissingTensorError,
  ModelNotFoundError,
  NonFiniteWeightError,
  SafetensorsError,
  SamplingParamsError,
  ShardingError,
  TokenIdError,
  TokenizerError,
  UnexpectedTensorError,
  UnsupportedArchitectureError,
  UnsupportedDeviceError,
  UnsupportedDTypeError,
  WeightDTypeError,
  WeightShapeError,
} from '../../../src/errors.ts';
import { makeFolder } from '../../checkpoint/folders.ts';
import { changedGolden, GOLDEN, goldenConfig, goldenTensors } from '../golden-folder.ts';

type ErrorClass = abstract new (...args: never[]) => Error;

async function expectLoadError(source: string, kind: ErrorClass, message: RegExp, options: LoadOptions = {}) {
  const failure = await LLM.load(source, options).then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(failure).toBeInstanceOf(kind);
  expect(String(failure)).toMatch(message);
}

const NGRAM = { method: 'ngram', numSpeculativeTokens: 4 };
const A_LOG = 'backbone.layers.1.mixer.A_log';

describe('a checkpoint that does not hold together', () => {
  test('no such model', async () => {
    await expectLoadError('no-such-model', ModelNotFoundError, /Bundled models: tiny-dts/);
  });

  test('an unknown architecture', async () => {
    const folder = await changedGolden({ config: { architectures: ['LlamaForCausalLM'] } });
    await expectLoadError(folder, UnsupportedArchitectureError, /LlamaForCausalLM.*Supported: Mamba2ForCausalLM/);
  });

  test('a missing tensor', async () => {
    const folder = await changedGolden({ tensors: (tensors) => tensors.delete(A_LOG) });
    await expectLoadError(folder, MissingTensorError, /lacks 'backbone.layers.1.mixer.A_log'/);
  });

  test('fewer layers in the config than in the weights', async () => {
    const folder = await changedGolden({ config: { num_hidden_layers: 2 } });
    await expectLoadError(folder, UnexpectedTensorError, /backbone.layers.2.*does not ask for/);
  });

  test('more layers in the config than in the weights', async () => {
    const folder = await changedGolden({ config: { num_hidden_layers: 4 } });
    await expectLoadError(folder, MissingTensorError, /backbone.layers.3/);
  });

  test('another vocabulary in the config than in the weights', async () => {
    const folder = await changedGolden({ config: { vocab_size: 512 } });
    await expectLoadError(folder, WeightShapeError, /backbone.embeddings.weight.*\(256, 64\).*\(512, 64\)/);
  });

  test('heads that do not make the intermediate size', async () => {
    const folder = await changedGolden({ config: { num_heads: 7 } });
    await expectLoadError(folder, ConfigError, /7 heads of 16 make 112.*128/);
  });

  test.each([7, 8, 100, 5000, 400_000])('safetensors cut off after %d bytes', async (length) => {
    const whole = await readFile(`${GOLDEN}/model.safetensors`);
    const folder = await makeFolder({
      'config.json': await goldenConfig(),
      'model.safetensors': whole.subarray(0, length),
    });
    await expectLoadError(folder, SafetensorsError, /model\.safetensors/);
  });

  test('NaN in a weight, on request', async () => {
    const folder = await changedGolden({
      tensors: (tensors) => {
        const weight = tensors.get(A_LOG);
        if (weight) weight.data[3] = Number.NaN;
      },
    });
    await expectLoadError(folder, NonFiniteWeightError, /A_log' holds NaN at element 3/, { checkFinite: true });
    await (await LLM.load(folder)).dispose();
  });

  test('a tokenizer larger than the vocabulary', async () => {
    const tokenizer = await readFile(new URL('../../../models/tiny-dts/tokenizer.json', import.meta.url));
    const folder = await changedGolden({ files: { 'tokenizer.json': tokenizer } });
    await expectLoadError(folder, TokenizerError, /up to 4095.*256 rows/);
  });

  test('the same errors come out of ranks', async () => {
    const folder = await changedGolden({ tensors: (tensors) => tensors.delete(A_LOG) });
    await expectLoadError(folder, MissingTensorError, /A_log/, { tensorParallelSize: 2 });
  });
});

describe('generation_config.json', () => {
  const load = (values: Record<string, unknown>) => changedGolden({ files: { 'generation_config.json': values } });

  test.each<[string, unknown]>([
    ['temperature', -5],
    ['temperature', '0.7'],
    ['temperature', [0.7]],
    ['top_p', 5],
    ['top_p', 0],
    ['top_p', true],
    ['top_k', -7],
    ['top_k', 1.5],
    ['min_p', -1],
    ['min_p', 1.1],
    ['repetition_penalty', 0],
    ['repetition_penalty', {}],
    ['eos_token_id', '2'],
    ['eos_token_id', [1, -2]],
  ])('with %s %j is refused, not every request', async (key, value) => {
    const message = new RegExp(`generation_config\\.json.*'${key}'`);
    await expectLoadError(await load({ [key]: value }), ConfigError, message);
  });

  test('with values at the ends of their ranges, or null, is read', async () => {
    const ends = { temperature: 0, top_p: 1, top_k: -1, min_p: 0, repetition_penalty: 0.5 };
    for (const values of [
      ends,
      { temperature: null, top_p: null, top_k: null, min_p: null, repetition_penalty: null },
    ]) {
      await using llm = await LLM.load(await load(values));
      expect((await llm.complete([1], { maxTokens: 1 })).tokenIds).toHaveLength(1);
    }
  });
});

describe('quantised weights', () => {
  test.each<[string, Record<string, unknown>, RegExp]>([
    [
      'a method',
      { quantization_config: { quant_method: 'hqq' } },
      /quantization_config 'hqq' is not read.*unquantized/,
    ],
    ['ModelOpt', { quantization_config: { quant_algo: 'INT4_AWQ' } }, /quantization_config 'INT4_AWQ' is not read/],
    ['a word', { quantization_config: 'some_method' }, /quantization_config 'some_method' is not read/],
    ['MLX', { quantization: { group_size: 64, bits: 7 } }, /config\.json: quantization: MLX has no 7 bits/],
    [
      'compressed-tensors of old',
      { compression_config: { format: 'marlin-24' } },
      /compression_config: 'format' is "marlin-24"/,
    ],
  ])('%s that is not supported: the key is named', async (_, config, message) => {
    await expectLoadError(await changedGolden({ config }), ConfigError, message);
  });

  const withInt8 = async (files: Record<string, unknown>) => {
    const tensors = await goldenTensors();
    const name = 'backbone.layers.0.mixer.in_proj.weight';
    const file = writeSafetensors(
      [...tensors].map(([name, { shape, data }]): TensorToWrite => ({ name, dtype: 'F32', shape, data })),
    );
    // The same bytes under another dtype: four columns of 8 bits for each of 32.
    const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length)));
    const [rows, columns] = header[name].shape;
    header[name] = { ...header[name], dtype: 'I8', shape: [rows, 4 * columns] };
    const json = new TextEncoder().encode(JSON.stringify(header));
    const changed = new Uint8Array(8 + json.length + file.length - 8 - length);
    new DataView(changed.buffer).setBigUint64(0, BigInt(json.length), true);
    changed.set(json, 8);
    changed.set(file.subarray(8 + length), 8 + json.length);
    return makeFolder({ 'config.json': await goldenConfig(), 'model.safetensors': changed, ...files });
  };

  test('a file next to the weights says so', async () => {
    const files = { 'hf_quant_config.json': { quantization: { quant_algo: 'INT8_SQ' } } };
    await expectLoadError(await withInt8(files), ConfigError, /hf_quant_config\.json 'INT8_SQ' is not read/);
  });

  test('nothing says so but the dtype', async () => {
    await expectLoadError(await withInt8({}), WeightDTypeError, /in_proj\.weight' is stored as I8.*unquantized/);
  });

  test('keys that say nothing, and a file next to weights that are not quantised, are no obstacle', async () => {
    const config = { quantization_config: null, quantization: {} };
    const folder = await changedGolden({ config, files: { 'hf_quant_config.json': { quantization: {} } } });
    await (await LLM.load(folder)).dispose();
  });

  test('a key that says something of weights that are floats is a warning', async () => {
    const folder = await changedGolden({ config: { quantization_config: { quant_method: 'fp8' } } });
    const warnings: string[] = [];
    await (await LLM.load(folder, { onWarning: (message) => warnings.push(message) })).dispose();
    expect(warnings).toEqual([expect.stringMatching(/quantization_config speaks of quantized weights/)]);
  });
});

describe('load options out of range', () => {
  test.each<[LoadOptions | Record<string, unknown>, ErrorClass, RegExp]>([
    [{ dtype: 'int3' }, UnsupportedDTypeError, /int3.*float32, bfloat16/],
    [{ tensorParallelSize: 3 }, ShardingError, /3, which does not divide the model's 8 heads/],
    [{ tensorParallelSize: 0 }, ArgumentError, /tensorParallelSize is 0/],
    [{ maxNumSeqs: 0 }, ArgumentError, /maxNumSeqs is 0/],
    [{ maxNumBatchedTokens: 1.5 }, ArgumentError, /maxNumBatchedTokens is 1.5/],
    // Only the number of ranks may be left to the library.
    [{ maxNumSeqs: 'auto' }, ArgumentError, /maxNumSeqs is 'auto'/],
    [{ maxNumSeqs: '8' }, ArgumentError, /maxNumSeqs is '8'\. Use a whole number from 1 on/],
    [{ maxQueueSize: -1 }, ArgumentError, /maxQueueSize is -1\. Use a whole number from 0 on/],
    [{ prefixCacheBytes: Number.NaN }, ArgumentError, /prefixCacheBytes is NaN/],
    [{ kvCacheMemoryBytes: '5' }, ArgumentError, /kvCacheMemoryBytes is '5'/],
    [{ speculativeConfig: 'ngram' }, ArgumentError, /speculativeConfig is 'ngram'\. Use an object/],
    [{ speculativeConfig: { method: ['ngram'], numSpeculativeTokens: 4 } }, ArgumentError, /method is a list/],
    // Names of vLLM, and misspelt ones, would change nothing.
    [{ max_num_seqs: 4 }, ArgumentError, /no option 'max_num_seqs'\. Did you mean 'maxNumSeqs'/],
    [{ stateStore: 'redis://localhost' }, ArgumentError, /stateStore is 'redis:.*openStateStore/],
    [{ stateStore: { get: () => [] } }, ArgumentError, /stateStore is an object; expected a store with list/],
    // A wrong name is told as such, whatever else does not go with it.
    [{ speculativeConfig: NGRAM, stateRounding: 'up' }, UnsupportedDTypeError, /nearest, stochastic/],
    [{ speculativeConfig: NGRAM, stateRounding: 'stochastic' }, ArgumentError, /positions of tokens/],
  ])('%j', async (options, kind, message) => {
    await expectLoadError(GOLDEN, kind, message, options);
  });

  test('a draft model that is not there', async () => {
    const speculativeConfig = { method: 'draft_model', model: 'no-such', numSpeculativeTokens: 2 } as const;
    await expectLoadError(GOLDEN, ModelNotFoundError, /speculativeConfig\.model: There is no model 'no-such'/, {
      speculativeConfig,
    });
  });

  test('an unknown device', async () => {
    const options = JSON.parse('{"device":"tpu"}');
    await expectLoadError(GOLDEN, UnsupportedDeviceError, /tpu.*auto, cpu, webgpu, cuda, reference/, options);
  });
});

describe('prompts', () => {
  test('that the model can not take', async () => {
    await using llm = await LLM.load(GOLDEN);
    await expect(llm.complete([])).rejects.toThrow(EmptyPromptError);
    await expect(llm.complete([1, 256])).rejects.toThrow(TokenIdError);
    await expect(llm.complete([-1])).rejects.toThrow(/Ids run from 0 to 255/);
    await expect(llm.logits([1.5])).rejects.toThrow(TokenIdError);
    await expect(llm.complete('text')).rejects.toThrow(TokenizerError);
    await expect(llm.complete([1], { stop: 'x' })).rejects.toThrow(TokenizerError);
    await expect(llm.complete([1], { temperature: -1 })).rejects.toThrow(SamplingParamsError);
    expect((await llm.complete([1], { maxTokens: 2 })).tokenIds.length).toBeGreaterThan(0);
  });

  test('and options that are none, from programs without types', async () => {
    await using llm = await LLM.load(GOLDEN);
    const options = (text: string) => JSON.parse(text);
    await expect(llm.complete(options('5'))).rejects.toThrow('The prompt is 5.');
    await expect(llm.complete(options('[{ "role": "user" }]'))).rejects.toThrow('Token id an object');
    await expect(llm.completeChat(options('"Hi"'))).rejects.toThrow("The messages are 'Hi'.");
    const misspelt = "There is no option 'max_tokens'. Did you mean 'maxTokens'?";
    await expect(llm.complete([1], options('{ "max_tokens": 4 }'))).rejects.toThrow(misspelt);
    await expect(llm.completeChat([], options('{ "max_tokens": 4 }'))).rejects.toThrow(misspelt);
    await expect(llm.complete([1], options('{ "top_k": 4 }'))).rejects.toThrow("Did you mean 'topK'?");
    await expect(llm.complete([1], options('{ "tools": [] }'))).rejects.toThrow('Options are maxTokens, temperature,');
    const session = llm.createSession();
    await expect(session.generate([1], options('{ "max_tokens": 4 }')).next()).rejects.toThrow(misspelt);
    for (const [name, value, message] of [
      ['stop', '5', 'stop is 5; expected a list of texts.'],
      ['badWords', '"word"', "badWords is 'word'; expected a list of texts."],
      ['stopTokenIds', '5', 'stopTokenIds is 5; expected a list of token ids.'],
      ['allowedTokenIds', '5', 'allowedTokenIds is 5; expected a list of token ids.'],
      ['logitBias', '[[5, 1]]', 'logitBias is a list; expected an object or a Map'],
    ]) {
      await expect(llm.complete([1], options(`{ "${name}": ${value} }`)), name).rejects.toThrow(message);
    }
    expect((await llm.complete([1], { temperature: 0, maxTokens: 1 })).tokenIds).toHaveLength(1);
  });

  test('of text that is empty', async () => {
    const tokenizer = await readFile(new URL('../../../models/tiny-dts/tokenizer.json', import.meta.url), 'utf8');
    const json = JSON.parse(tokenizer);
    // Without its post-processor the tokenizer adds nothing to an empty text.
    json.post_processor = null;
    const folder = await changedGolden({ files: { 'tokenizer.json': shrunk(json, 256) } });
    await using llm = await LLM.load(folder);
    await expect(llm.complete('')).rejects.toThrow(EmptyPromptError);
  });
});

/** The tokenizer with only its first tokens: the bytes. */
function shrunk(json: { model: { vocab: Record<string, number>; merges: unknown[] } }, size: number): object {
  const vocab = Object.fromEntries(Object.entries(json.model.vocab).filter(([, id]) => id < size));
  return { ...json, model: { ...json.model, vocab, merges: [] } };
}
