import { describe, expect, test } from 'vitest';
import { Checkpoint } from '../../../src/checkpoint/checkpoint.ts';
import { ConfigError, MissingTensorError, WeightDTypeError, WeightShapeError } from '../../../src/errors.ts';
import { makeFolder } from '../folders.ts';
import { CASES } from './cases.ts';
import { random } from './numbers.ts';
import { bytesOf, type RawTensor, rawSafetensors } from './raw-safetensors.ts';

type ErrorClass = new (...args: never[]) => Error;

const LAYERS = ['model.layers.0.mixer.in_proj', 'model.layers.1.mixer.in_proj'];

/** Two layers of a case's method, after a change to their tensors or to the config. */
async function open(
  name: string,
  change: {
    readonly tensors?: (tensors: RawTensor[]) => RawTensor[];
    readonly config?: (settings: Record<string, unknown>) => Record<string, unknown>;
  } = {},
) {
  const quantization = CASES.find((entry) => entry.name === name);
  if (quantization === undefined) throw new Error(name);
  const next = random(3);
  const data = Float32Array.from({ length: 32 * 64 }, () => next() - 0.5);
  const tensors = LAYERS.flatMap((layer) => [...quantization.pack(layer, { rows: 32, columns: 64, data }).tensors]);
  const [[key, settings] = []] = Object.entries(quantization.config ?? {});
  const config =
    change.config && key ? { [key]: change.config(settings as Record<string, unknown>) } : quantization.config;
  return Checkpoint.open(
    await makeFolder({
      'config.json': { ...config },
      'model.safetensors': rawSafetensors(change.tensors?.(tensors) ?? tensors),
    }),
  );
}

const without = (suffix: string) => (tensors: RawTensor[]) =>
  tensors.filter(({ name }) => name !== `${LAYERS[1]}.${suffix}`);

const replaced = (suffix: string, change: (tensor: RawTensor) => Partial<RawTensor>) => (tensors: RawTensor[]) =>
  tensors.map((tensor) => (tensor.name === `${LAYERS[1]}.${suffix}` ? { ...tensor, ...change(tensor) } : tensor));

/** One row or value less. */
const shortened = (suffix: string) =>
  replaced(suffix, ({ shape, bytes }) => ({
    shape: [shape[0] - 1, ...shape.slice(1)],
    bytes: bytes.slice(0, (bytes.length / shape[0]) * (shape[0] - 1)),
  }));

const asDType = (suffix: string, dtype: string) => replaced(suffix, () => ({ dtype }));

async function expectProblem(checkpoint: Checkpoint, kind: ErrorClass, message: RegExp): Promise<void> {
  await checkpoint.close();
  const { problem } = checkpoint.quantization ?? {};
  expect(problem).toBeInstanceOf(kind);
  expect(problem?.message).toMatch(message);
}

describe('what does not make a weight is named before one is read', () => {
  test.each([
    ['ModelOpt FP8', 'weight_scale'],
    ['ModelOpt NVFP4', 'weight_scale'],
    ['ModelOpt NVFP4', 'weight_scale_2'],
    ['FP8, blocks of 128x128', 'weight_scale_inv'],
    ['FP8, one scale', 'weight_scale'],
    ['compressed-tensors int-quantized', 'weight_scale'],
    ['compressed-tensors pack-quantized with zero points, 4 bits', 'weight_zero_point'],
    ['compressed-tensors nvfp4-pack-quantized', 'weight_global_scale'],
    ['compressed-tensors mxfp4-pack-quantized', 'weight_scale'],
    ['GPTQ, 4 bits', 'scales'],
    ['GPTQ, 4 bits', 'qzeros'],
    ['AWQ', 'scales'],
    ['MLX, 4 bits', 'scales'],
    ['MLX, 4 bits', 'biases'],
    ['MLX mxfp4', 'scales'],
    ['bitsandbytes nf4', 'weight.absmax'],
    ['bitsandbytes nf4', 'weight.quant_state.bitsandbytes__nf4'],
    ['bitsandbytes nf4, scales quantised too', 'weight.nested_absmax'],
    ['bitsandbytes, 8 bits', 'SCB'],
  ])('%s without %s', async (name, suffix) => {
    const message = new RegExp(`layers\\.1\\.mixer\\.in_proj.*no '${LAYERS[1]}\\.${suffix.replaceAll('.', '\\.')}'`);
    await expectProblem(await open(name, { tensors: without(suffix) }), MissingTensorError, message);
  });

  test.each([
    ['ModelOpt FP8, a scale a row', 'weight_scale'],
    ['ModelOpt NVFP4', 'weight_scale'],
    ['FP8, blocks of 32x16', 'weight_scale_inv'],
    ['compressed-tensors int-quantized', 'weight_scale'],
    ['compressed-tensors pack-quantized, 4 bits', 'weight_scale'],
    ['compressed-tensors pack-quantized with zero points, 4 bits', 'weight_zero_point'],
    ['compressed-tensors pack-quantized, columns sorted', 'weight_g_idx'],
    ['GPTQ, 4 bits', 'scales'],
    ['GPTQ, 4 bits', 'qzeros'],
    ['GPTQ, 4 bits', 'g_idx'],
    ['AWQ', 'qzeros'],
    ['MLX, 4 bits', 'biases'],
    ['bitsandbytes nf4', 'weight.absmax'],
    ['bitsandbytes nf4', 'weight.quant_map'],
    ['bitsandbytes, 8 bits', 'SCB'],
  ])('%s with %s of another shape', async (name, suffix) => {
    const message = new RegExp(`'${LAYERS[1]}\\.${suffix}' has shape`);
    await expectProblem(await open(name, { tensors: shortened(suffix) }), WeightShapeError, message);
  });

  test.each([
    ['ModelOpt FP8', 'weight_scale', 'I32'],
    ['ModelOpt NVFP4', 'weight_scale', 'U8'],
    ['ModelOpt MXFP8', 'weight_scale', 'I8'],
    ['compressed-tensors nvfp4-pack-quantized', 'weight_packed', 'I8'],
    ['compressed-tensors int-quantized, groups with zero points', 'weight_zero_point', 'U8'],
    ['GPTQ, 4 bits', 'qweight', 'F32'],
    ['GPTQ, 4 bits', 'scales', 'I16'],
    ['AWQ', 'qzeros', 'F32'],
    ['MLX, 4 bits', 'scales', 'I16'],
    ['MLX mxfp4', 'scales', 'I8'],
    ['bitsandbytes, 8 bits', 'SCB', 'I32'],
  ])('%s with %s in %s', async (name, suffix, dtype) => {
    const message = new RegExp(`'${LAYERS[1]}\\.${suffix}' is stored as ${dtype}, expected`);
    await expectProblem(await open(name, { tensors: asDType(suffix, dtype) }), WeightDTypeError, message);
  });

  test.each([
    ['compressed-tensors pack-quantized, 4 bits', (settings: object) => withWeights(settings, { group_size: 48 })],
    ['GPTQ, 4 bits', (settings: object) => ({ ...settings, group_size: 48 })],
    ['AWQ', (settings: object) => ({ ...settings, group_size: 48 })],
    ['MLX, 4 bits', (settings: object) => ({ ...settings, group_size: 48 })],
    ['ModelOpt NVFP4', (settings: object) => ({ ...settings, group_size: 48 })],
  ])('%s in groups that do not divide the columns', async (name, config) => {
    await expectProblem(await open(name, { config }), ConfigError, /has 64 columns, which groups of 48 do not divide/);
  });

  test.each<[string, Record<string, unknown>, RegExp]>([
    ['ModelOpt FP8', { quant_algo: 'W4A8_AWQ' }, /'W4A8_AWQ' is not read/],
    [
      'ModelOpt FP8',
      { quant_algo: 'MIXED_PRECISION', quantized_layers: { 'model.layers.0': { quant_algo: 'FP8' } } },
      /'quantized_layers' does not say how 'model\.layers\.1/,
    ],
    ['FP8, blocks of 128x128', { weight_block_size: [0, 128] }, /'weight_block_size' is \[0,128\]/],
    ['compressed-tensors pack-quantized, 4 bits', { format: 'marlin-24' }, /'format' is "marlin-24"/],
    ['compressed-tensors pack-quantized, 4 bits', { config_groups: {} }, /'config_groups' says of no layer/],
    [
      'compressed-tensors pack-quantized, 4 bits',
      { sparsity_config: { format: 'sparse-24-bitmask' } },
      /sparse format/,
    ],
    [
      'compressed-tensors pack-quantized, 4 bits',
      { transform_config: { config_groups: { u: {} } } },
      /transform_config/,
    ],
    ['GPTQ, 4 bits', { bits: 5 }, /GPTQ with 5 bits/],
    ['GPTQ, 4 bits', { checkpoint_format: 'marlin' }, /checkpoint_format 'marlin' is not read/],
    ['GPTQ, 4 bits', { dynamic: { '(a+)+': { bits: 8 } } }, /too complex/],
    ['AWQ', { version: 'gemv' }, /version GEMV is not read/],
    ['MLX, 4 bits', { mode: 'ternary' }, /'mode' is "ternary"/],
    ['MLX, 4 bits', { [LAYERS[1]]: false }, /'model\.layers\.1\.mixer\.in_proj' is false/],
    ['bitsandbytes nf4', { load_in_8bit: true }, /one of 'load_in_4bit' and 'load_in_8bit'/],
  ])('%s with %j', async (name, more, message) => {
    await expectProblem(await open(name, { config: (settings) => ({ ...settings, ...more }) }), ConfigError, message);
  });
});

function withWeights(settings: object, more: Record<string, unknown>): Record<string, unknown> {
  const whole = JSON.parse(JSON.stringify(settings));
  Object.assign(whole.config_groups.group_0.weights, more);
  return whole;
}

describe('lists of excluded layers', () => {
  const withList = (name: string, key: string, list: string[]) =>
    open(name, { config: (settings) => ({ ...settings, [key]: list }) });

  test.each<[string, string, string[]]>([
    ['ModelOpt FP8', 'ignore', ['model.layers.7.mixer.in_proj']],
    ['ModelOpt FP8', 'ignore', ['lm_head', '*.vision_tower.*']],
    ['FP8, one scale', 'modules_to_not_convert', ['no_such_layer']],
    ['compressed-tensors pack-quantized, 4 bits', 'ignore', ['re:.*out_proj$', 'lm_head']],
    ['AWQ', 'modules_to_not_convert', ['visual']],
    ['bitsandbytes nf4', 'llm_int8_skip_modules', ['visual']],
  ])('%s: %s %j names nothing', async (name, key, list) => {
    await expectProblem(
      await withList(name, key, list),
      ConfigError,
      new RegExp(`'${key}' names no layer of this model`),
    );
  });

  test.each<[string, string, string[]]>([
    ['ModelOpt FP8', 'ignore', ['lm_head']],
    ['ModelOpt FP8', 'exclude_modules', ['model.layers.0*']],
    ['FP8, one scale', 'ignored_layers', ['model.layers']],
    ['compressed-tensors pack-quantized, 4 bits', 'ignore', ['re:.*lm_head', 'Embedding', 're:model\\.layers$']],
    ['AWQ', 'modules_to_not_convert', []],
  ])('%s: %s %j is in order', async (name, key, list) => {
    const checkpoint = await withList(name, key, list);
    expect(checkpoint.quantization).toMatchObject({ problem: undefined, warnings: [] });
    await checkpoint.close();
  });

  test('an entry among others that names nothing is a warning', async () => {
    const checkpoint = await withList('compressed-tensors pack-quantized, 4 bits', 'ignore', ['model.layers', 'typo']);
    expect(checkpoint.quantization?.problem).toBeUndefined();
    expect(checkpoint.quantization?.warnings).toEqual([expect.stringMatching(/'ignore' has entries .*: 'typo'\.$/)]);
    await checkpoint.close();
  });

  test.each([
    ['compressed-tensors pack-quantized, 4 bits', 'ignore', 're:.*layers\\.1.*in_proj'],
    ['FP8, one scale', 'modules_to_not_convert', LAYERS[1]],
  ])('%s: a layer that %s %s excludes may not be quantised', async (name, key, entry) => {
    await expectProblem(await withList(name, key, [entry]), ConfigError, /excludes 'model\.layers\.1\.mixer\.in_proj'/);
  });

  test.each(['re:(a|b)+', 're:.*a.*b.*c.*d.*e', 're:(?:x{1,9}){9}', `re:${'a'.repeat(600)}`])(
    'a pattern that may take forever is refused: %s',
    async (entry) => {
      const opened = withList('compressed-tensors pack-quantized, 4 bits', 'ignore', [entry]);
      await expectProblem(await opened, ConfigError, /too complex/);
    },
  );

  test('a broken pattern is an error', async () => {
    const opened = withList('compressed-tensors pack-quantized, 4 bits', 'ignore', ['re:[a']);
    await expectProblem(await opened, ConfigError, /is no regular expression/);
  });
});

test("codes that a method's own lists put out of its groups are refused when they are read", async () => {
  const wrong = replaced('g_idx', ({ bytes }) => ({ bytes: bytesOf(new Int32Array(bytes.length / 4).fill(9)) }));
  const checkpoint = await open('GPTQ, 4 bits', { tensors: wrong });
  await expect(checkpoint.readFloat32(`${LAYERS[1]}.weight`)).rejects.toThrow(WeightShapeError);
  await checkpoint.close();
});
