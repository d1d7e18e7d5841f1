import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { LLM } from '../../src/engine/llm.ts';
import type { LoadOptions } from '../../src/engine/load-model.ts';
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
  WeightShapeError,
} from '../../src/errors.ts';
import { makeFolder } from '../checkpoint/folders.ts';
import { changedGolden, GOLDEN, goldenConfig } from './golden-folder.ts';

type ErrorClass = abstract new (...args: never[]) => Error;

async function expectLoadError(source: string, kind: ErrorClass, message: RegExp, options: LoadOptions = {}) {
  const failure = await LLM.load(source, options).then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(failure).toBeInstanceOf(kind);
  expect(String(failure)).toMatch(message);
}

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
    const tokenizer = await readFile(new URL('../../models/tiny-dts/tokenizer.json', import.meta.url));
    const folder = await changedGolden({ files: { 'tokenizer.json': tokenizer } });
    await expectLoadError(folder, TokenizerError, /up to 4095.*256 rows/);
  });

  test('the same errors come out of ranks', async () => {
    const folder = await changedGolden({ tensors: (tensors) => tensors.delete(A_LOG) });
    await expectLoadError(folder, MissingTensorError, /A_log/, { tensorParallelSize: 2 });
  });
});

describe('load options out of range', () => {
  test.each<[LoadOptions, ErrorClass, RegExp]>([
    [{ dtype: 'int3' }, UnsupportedDTypeError, /int3.*float32, bfloat16/],
    [{ tensorParallelSize: 3 }, ShardingError, /3, which does not divide the model's 8 heads/],
    [{ tensorParallelSize: 0 }, ArgumentError, /tensorParallelSize is 0/],
    [{ maxNumSeqs: 0 }, ArgumentError, /maxNumSeqs is 0/],
    [{ maxNumBatchedTokens: 1.5 }, ArgumentError, /maxNumBatchedTokens is 1.5/],
  ])('%j', async (options, kind, message) => {
    await expectLoadError(GOLDEN, kind, message, options);
  });

  test('an unknown device', async () => {
    const options = JSON.parse('{"device":"tpu"}');
    await expectLoadError(GOLDEN, UnsupportedDeviceError, /tpu.*auto, cpu, webgpu, reference/, options);
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

  test('of text that is empty', async () => {
    const tokenizer = await readFile(new URL('../../models/tiny-dts/tokenizer.json', import.meta.url), 'utf8');
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
