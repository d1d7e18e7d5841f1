import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { makeFolder } from '../checkpoint/folders.ts';
import { TENSOR_TYPES } from '../checkpoint/gguf/gguf-writer.ts';
import { tinyGguf } from '../checkpoint/gguf/tiny-gguf.ts';
import { CASES } from '../checkpoint/quantization/cases.ts';
import { quantizedGolden } from '../checkpoint/quantization/quantized-golden.ts';
import { changedGolden } from '../engine/golden-folder.ts';
import { runCli } from './run-cli.ts';
import { TINY_DTS, tinyFile } from './tiny-dts.ts';

/** Counted by hand from config.json, as the paper describes the layer. */
async function handCount() {
  const config = JSON.parse(String(await tinyFile('config.json')));
  const { vocab_size: V, hidden_size: D, num_hidden_layers: L, state_size: N, n_groups: G } = config;
  const { num_heads: H, head_dim: P, conv_kernel: K } = config;
  const convDim = H * P + 2 * G * N;
  const parameters = {
    embeddings: V * D,
    inProj: L * D * (H * P + convDim + H),
    conv: L * convDim * (K + 1),
    outProj: L * H * P * D,
    attention: 0,
    feedForward: 0,
    experts: 0,
    norms: L * (D + H * P) + D,
    other: L * 3 * H,
  };
  const matrices = parameters.embeddings + parameters.inProj + parameters.outProj;
  const total = Object.values(parameters).reduce((sum, count) => sum + count, 0);
  const rest = (total - matrices) * 4;
  const state = { conv: L * convDim * (K - 1) * 4, ssm: L * H * P * N * 4 };
  return {
    parameters: { ...parameters, total },
    stateBytes: { ...state, total: state.conv + state.ssm },
    // Every matrix has a multiple of 128 columns, so all blocks are whole: 4 bytes beside 128 int8, 6 beside 128 int4.
    // The processor has no float16, which therefore stays float32 in memory.
    weightBytes: {
      float32: total * 4,
      bfloat16: matrices * 2 + rest,
      float16: total * 4,
      int8: matrices + matrices / 32 + rest,
      int4: matrices / 2 + (6 * matrices) / 128 + rest,
    },
  };
}

describe('inspect', () => {
  test('--json holds the numbers that follow from the config', async () => {
    const { code, stdout, stderr } = await runCli(['inspect', 'tiny-dts', '--json']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { size } = await stat(`${TINY_DTS}/model.safetensors`);
    const { parameters, stateBytes, weightBytes } = await handCount();
    expect(parameters.total).toBe(7_564_880);
    expect(JSON.parse(stdout)).toEqual({
      folder: expect.stringMatching(/tiny-dts$/),
      config: expect.objectContaining({
        architecture: 'Mamba2ForCausalLM',
        numHiddenLayers: 14,
        hiddenSize: 256,
        timeStepLimit: [0, 'Infinity'],
      }),
      parameters,
      mtp: false,
      layerMap: Array(14).fill(['mixer']),
      stateDType: 'float32',
      stateBytes,
      kvCacheDType: null,
      kvBytesPerToken: 0,
      weightBytes,
      autoDType: 'bfloat16',
      autoWeightBytes: weightBytes.bfloat16,
      stages: [],
      memory: {
        context: 4096,
        batch: 1,
        states: stateBytes.total,
        keysAndValues: 0,
        total: Object.fromEntries(
          Object.entries(weightBytes).map(([dtype, bytes]) => [dtype, bytes + stateBytes.total]),
        ),
      },
      files: {
        names: ['model.safetensors'],
        bytes: size,
        dtypes: { BF16: parameters.total },
        kinds: Object.fromEntries(
          ['embeddings', 'inProj', 'conv', 'outProj', 'norms', 'other'].map((kind) => {
            const values = parameters[kind as keyof typeof parameters];
            return [kind, { bytes: 2 * values, dtypes: { BF16: values } }];
          }),
        ),
      },
      quantization: null,
      tokenizer: { vocabSize: 4096, bosTokenId: 0, eosTokenId: 0 },
      chatTemplate: true,
      chatTemplateKind: 'completion',
      problems: [],
      warnings: [],
    });
  });

  test('--pipeline-parallel-size shows what each stage holds', async () => {
    const args = ['inspect', 'tiny-dts', '--pipeline-parallel-size', '3'];
    const { stages, stateBytes, weightBytes } = JSON.parse((await runCli([...args, '--json'])).stdout);
    const table = 4096 * 256 * 2;
    expect(stages.map(({ begin, end }: { begin: number; end: number }) => [begin, end])).toEqual([
      [0, 4],
      [4, 10],
      [10, 14],
    ]);
    const sum = (key: string) => stages.reduce((total: number, stage: Record<string, number>) => total + stage[key], 0);
    expect(sum('stateBytes')).toBe(stateBytes.total);
    // The table that is embeddings and head at once is in the first stage and the last.
    expect(sum('weightBytes')).toBe(weightBytes.bfloat16 + table);
    const { stdout } = await runCli(args);
    expect(stdout).toMatch(/stage 3 {2}layers 10-13 {2}weights 5\.9 MB {2}state 1\.1 MB/);
    const { code, stderr } = await runCli(['inspect', 'tiny-dts', '--pipeline-parallel-size', '15']);
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringMatching(/--pipeline-parallel-size is 15, but the model has 14 layers/),
    });
  });

  test('the table holds the same', async () => {
    const { code, stdout, stderr } = await runCli(['inspect', TINY_DTS]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { weightBytes, stateBytes } = await handCount();
    expect(stdout).toMatch(/^Mamba2ForCausalLM in /);
    expect(stdout).toMatch(/^total +7,564,880$/m);
    for (const [dtype, bytes] of Object.entries(weightBytes)) {
      expect(stdout).toMatch(new RegExp(`^${dtype} +\\S+ MB +${bytes.toLocaleString('en-US')} B$`, 'm'));
    }
    expect(stdout).toMatch(new RegExp(`^total +${stateBytes.total.toLocaleString('en-US')} B$`, 'm'));
    expect(stdout).toMatch(/4,096 tokens, bos 0, eos 0/);
    expect(stdout).toMatch(/^mixer +14: +0-13$/m);
    expect(stdout).toMatch(/memory sets no limit to its length/);
    expect(stdout).not.toMatch(/^experts/m);
    expect(stdout).toMatch(/^chat template +completion: /m);
  });

  test('a hybrid: its layers, its parameters, and what grows with the context', async () => {
    const folder = fileURLToPath(new URL('../goldens/granitemoehybrid', import.meta.url));
    const load = ['--context', '100', '--batch', '3'];
    const { code, stdout } = await runCli(['inspect', folder, ...load]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^mixer \+ experts \+ feed-forward +3: +0-1, 3$/m);
    expect(stdout).toMatch(/^attention \+ experts \+ feed-forward +1: +2$/m);
    // Counted by hand from the config: q and o 64 × 64, k and v 32 × 64; per layer 4 experts of 3 × 32 × 64 with a router
    // of 4 × 64, and a shared layer of 3 × 48 × 64.
    expect(stdout).toMatch(/^attention +12,288$/m);
    expect(stdout).toMatch(/^experts +99,328$/m);
    expect(stdout).toMatch(/^feed-forward +36,864$/m);
    // One attention layer of two heads of 16, keys and values in float32; 100 tokens fill four blocks of 32.
    expect(stdout).toMatch(/further token of a sequence takes 256 B/);
    expect(stdout).toMatch(/^keys and values +98\.3 kB$/m);
    expect(stdout).toMatch(/^mixer: num heads +8$/m);
    const json = JSON.parse((await runCli(['inspect', folder, '--json', ...load])).stdout);
    const { attention, feedForward, experts } = json.parameters;
    expect({ attention, feedForward, experts }).toEqual({ attention: 12288, feedForward: 36864, experts: 99328 });
    expect(json).toMatchObject({ kvBytesPerToken: 256, problems: [] });
    const [states, keysAndValues] = [3 * json.stateBytes.total, 3 * 4 * 32 * 256];
    expect(json.memory).toMatchObject({ context: 100, batch: 3, states, keysAndValues });
    expect(json.memory.total.int4).toBe(json.weightBytes.int4 + states + keysAndValues);
    expect(json.parameters.total).toBe(json.files.dtypes.F32);
    const short = JSON.parse((await runCli(['inspect', folder, '--json', ...load, '--kv-cache-dtype', 'fp8'])).stdout);
    expect(short).toMatchObject({ kvCacheDType: 'fp8_e4m3', kvBytesPerToken: 64 });
  });

  test('dtypes of states: what was asked for, what the config says, and float32 where that is unknown', async () => {
    const short = async (...args: string[]) => {
      const { code, stdout, stderr } = await runCli(['inspect', ...args]);
      const json = JSON.parse((await runCli(['inspect', ...args, '--json'])).stdout);
      return { code, stdout, stderr, json };
    };
    const whole = await short('tiny-dts');
    expect(whole.stdout).toMatch(/^State per sequence$/m);
    expect(whole.stdout).toMatch(/^ssm +float32 +[\d,]+ B$/m);
    const asked = await short('tiny-dts', '--mamba-ssm-cache-dtype', 'float16');
    expect(asked.stdout).toMatch(/^conv +float32 +[\d,]+ B$/m);
    expect(asked.stdout).toMatch(/^ssm +float16 +[\d,]+ B$/m);
    expect(asked.json.stateDType).toBe('float16');
    expect(asked.json.stateBytes).toMatchObject({
      conv: whole.json.stateBytes.conv,
      ssm: whole.json.stateBytes.ssm / 2,
    });
    const unknown = await short(await changedGolden({ config: { mamba_ssm_cache_dtype: 'int7' } }));
    expect(unknown.code).toBe(1);
    expect(unknown.stderr).toMatch(/warning: .*mamba_ssm_cache_dtype "int7"/);
    expect(unknown.json).toMatchObject({
      stateDType: 'float32',
      problems: [expect.stringMatching(/mamba_ssm_cache_dtype/)],
    });
  });

  test('weights that contradict the config are a warning and code 1', async () => {
    const folder = await changedGolden({ config: { num_hidden_layers: 4 } });
    const { code, stdout, stderr } = await runCli(['inspect', folder, '--json']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^warning: .*lacks 'backbone\.layers\.3.*\n$/);
    const report = JSON.parse(stdout);
    expect(report).toMatchObject({ config: { numHiddenLayers: 4 }, tokenizer: null });
    expect(report.problems).toHaveLength(1);
  });

  test('so is a tokenizer that does not fit', async () => {
    const tokenizer = await readFile(`${TINY_DTS}/tokenizer.json`);
    const { code, stderr } = await runCli(['inspect', await changedGolden({ files: { 'tokenizer.json': tokenizer } })]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/warning: .*up to 4095.*256 rows/);
  });

  test.each<[string, Parameters<typeof changedGolden>[0], RegExp]>([
    ['quantised weights', { config: { quantization_config: { quant_method: 'hqq' } } }, /quantization_config 'hqq'/],
    [
      'a sampling default',
      { files: { 'generation_config.json': { top_p: 5 } } },
      /generation_config\.json: 'top_p' is 5/,
    ],
    [
      'an end of text',
      { files: { 'generation_config.json': { eos_token_id: 'x' } } },
      /generation_config.*eos_token_id/,
    ],
  ])('so is whatever else loading would refuse: %s', async (_, change, message) => {
    const { code, stdout, stderr } = await runCli(['inspect', await changedGolden(change)]);
    expect(code).toBe(1);
    expect(stderr).toMatch(message);
    expect(stdout).toMatch(/^Mamba2ForCausalLM in /);
  });

  test('a quantised model: method, bits and bytes of each kind of layer', async () => {
    const mxfp4 = CASES.find(({ name }) => name === 'MLX mxfp4');
    if (mxfp4 === undefined) throw new Error('no such case');
    const { quantized } = await quantizedGolden(mxfp4);
    const { code, stdout, stderr } = await runCli(['inspect', quantized]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^Weights in files: MLX mxfp4 4 bits$/m);
    // 3 layers of 296 x 64 codes of 4 bits, and a byte for each 32.
    expect(stdout).toMatch(/^in_proj +MLX mxfp4 \(groups of 32\) +4\.25 bits +30,192 B$/m);
    expect(stdout).toMatch(/^conv +F32 +32\.00 bits /m);
  });

  test('a config that makes no model is an error', async () => {
    const folder = await changedGolden({ config: { num_heads: 7 } });
    const { code, stdout, stderr } = await runCli(['inspect', folder]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/^error: .*7 heads of 16/);
  });

  test('a GGUF file: what each kind of parameters takes in it', async () => {
    const path = join(await makeFolder({ 'm.gguf': tinyGguf() }), 'm.gguf');
    const { code, stdout, stderr } = await runCli(['inspect', path]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^Mamba2ForCausalLM in .*m\.gguf$/m);
    expect(stdout).toMatch(/^in_proj +F32 +32\.00 bits +20,992 B$/m);
    expect(stdout).toMatch(/^weights +m\.gguf, /m);
  });

  test('a GGUF file with a type that is not read: which tensor, and exit code 1', async () => {
    const types = { 'blk.0.ssm_in.weight': TENSOR_TYPES.I32 };
    const path = join(await makeFolder({ 'm.gguf': tinyGguf('m', types) }), 'm.gguf');
    const { code, stdout, stderr } = await runCli(['inspect', path]);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^in_proj +I32 +32\.00 bits/m);
    expect(stderr).toMatch(
      /^warning: .*m\.gguf: tensor 'blk\.0\.ssm_in\.weight' is stored as I32, expected one of F32/,
    );
  });

  test('a file that is no GGUF, and a quantization that is not there: exit code 1', async () => {
    const folder = await makeFolder({ 'a-Q8_0.gguf': 'no', 'a-Q6_K.gguf': tinyGguf() });
    const broken = await runCli(['inspect', `${folder}:q8_0`]);
    expect(broken).toMatchObject({ code: 1, stderr: expect.stringMatching(/^error: .*fewer than any header/) });
    const absent = await runCli(['inspect', `${folder}:Q4_0`]);
    expect(absent).toMatchObject({ code: 1, stderr: expect.stringMatching(/^error: .*There are Q6_K, Q8_0/) });
  });
});
