import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { Checkpoint } from '../../../src/checkpoint/checkpoint.ts';
import { LLM } from '../../../src/engine/llm.ts';
import { hybridFolder } from '../../engine/hybrid-folders.ts';
import { largestDifference } from '../../numbers.ts';
import { few } from '../../runs.ts';
import { makeFolder } from '../folders.ts';
import { CASES } from './cases.ts';
import { fp8, mlxAffine, nvfp4, packed, type Weight } from './packers.ts';
import { bytesOf, type RawTensor, rawSafetensors } from './raw-safetensors.ts';

const PROMPT = Array.from({ length: 9 }, (_, i) => (i * 7) % 37);

async function golden(name: string) {
  const checkpoint = await Checkpoint.open(hybridFolder(name));
  const weights = new Map<string, Weight>();
  for (const tensor of checkpoint.names()) {
    weights.set(tensor, { shape: checkpoint.info(tensor).shape, data: (await checkpoint.readFloat32(tensor)).slice() });
  }
  await checkpoint.close();
  return { config: JSON.parse(await readFile(`${hybridFolder(name)}/config.json`, 'utf8')), weights };
}

const plain = (name: string, { shape, data }: Weight): RawTensor => ({
  name,
  dtype: 'F32',
  shape,
  bytes: bytesOf(data),
});

async function expectSameLogits(
  config: Readonly<Record<string, unknown>>,
  [quantized, plainConfig]: readonly [Record<string, unknown>, Record<string, unknown>?],
  tensors: readonly RawTensor[],
  floats: readonly RawTensor[],
  ranks = 1,
): Promise<void> {
  const write = (more: Record<string, unknown>, list: readonly RawTensor[]) =>
    makeFolder({ 'config.json': { ...config, ...more }, 'model.safetensors': rawSafetensors(list) });
  // Blocks would be summed in another order.
  const options = { device: 'cpu', dtype: 'float32', tensorParallelSize: ranks } as const;
  await using llm = await LLM.load(await write(quantized, tensors), options);
  await using expected = await LLM.load(await write(plainConfig ?? {}, floats), options);
  expect(largestDifference(await llm.logits(PROMPT), await expected.logits(PROMPT))).toBe(0);
}

const caseOf = (name: string) => {
  const found = CASES.find((entry) => entry.name === name);
  if (found === undefined) throw new Error(name);
  return found;
};

describe('experts', () => {
  test.each(
    few(
      [
        ['granitemoehybrid', 'FP8, one scale', 1],
        ['granitemoehybrid', 'FP8, blocks of 32x16', 1],
        ['granitemoehybrid', 'compressed-tensors float-quantized, a scale a row', 1],
        ['granitemoehybrid', 'compressed-tensors int-quantized', 1],
        ['granitemoehybrid', 'compressed-tensors pack-quantized, 4 bits', 2],
        ['granitemoehybrid', 'compressed-tensors mxfp4-pack-quantized', 1],
        ['granitemoehybrid', 'ModelOpt NVFP4', 1],
        ['variants/nemotron-experts', 'FP8, one scale', 2],
        ['variants/nemotron-experts', 'compressed-tensors int-quantized', 1],
        ['variants/nemotron-experts', 'bitsandbytes nf4', 1],
      ] as [string, string, number][],
      3,
    ),
  )('%s: %s, %d ranks', async (name, method, ranks) => {
    const { config, weights } = await golden(name);
    const { pack, config: settings } = caseOf(method);
    const tensors: RawTensor[] = [];
    const floats: RawTensor[] = [];
    for (const [weight, value] of weights) {
      const isExpert = /block_sparse_moe\.\w+_linear|experts\.\d+\./.test(weight);
      if (!isExpert) {
        tensors.push(plain(weight, value));
        floats.push(plain(weight, value));
        continue;
      }
      const { tensors: own, values } = packed(pack, weight.replace(/\.weight$/, ''), value);
      tensors.push(...own);
      floats.push(plain(weight, { ...value, data: values }));
    }
    expect(tensors.length).toBeGreaterThan(floats.length);
    await expectSameLogits(config, [settings ?? {}], tensors, floats, ranks);
  });

  test('stacks without `weight` in their names have companions that go on with `_`', async () => {
    const data = Float32Array.from({ length: 2 * 6 * 32 }, (_, i) => Math.sin(i));
    const layer = 'model.layers.1.mixer.experts.up_proj';
    const pack = fp8({ block: [1, Infinity], scaleName: 'weight_scale' });
    const { tensors, values } = packed(pack, layer, { shape: [2, 6, 32], data });
    const named = tensors.map((tensor) => ({
      ...tensor,
      name: tensor.name.replace('.weight_scale', '_scale').replace(/\.weight$/, ''),
    }));
    const checkpoint = await Checkpoint.open(
      await makeFolder({
        'config.json': { quantization_config: { quant_method: 'fp8' } },
        'model.safetensors': rawSafetensors(named),
      }),
    );
    expect(checkpoint.quantization?.problem).toBeUndefined();
    expect(checkpoint.names()).toEqual([layer]);
    expect(await checkpoint.readFloat32(layer)).toEqual(values);
    expect(await checkpoint.readFloat32(layer, { firstRow: 1, rows: 1 })).toEqual(values.slice(6 * 32));
    await checkpoint.close();
  });
});

test.each([
  {
    quantization_config: {
      quant_method: 'modelopt',
      quant_algo: null,
      kv_cache_scheme: { type: 'float', num_bits: 8 },
    },
  },
  { quantization_config: { quant_method: 'compressed-tensors', config_groups: {}, kv_cache_scheme: { num_bits: 8 } } },
  {},
])('keys and values alone were quantised, which is of no account: %j', async (config) => {
  const scale = { dtype: 'F32', shape: [1], bytes: bytesOf(Float32Array.of(2)) };
  const weight = { name: 'layer.k_proj.weight', dtype: 'F32', shape: [1, 2], bytes: bytesOf(Float32Array.of(1, 2)) };
  const folder = await makeFolder({
    'config.json': config,
    'hf_quant_config.json': { quantization: { quant_algo: null, kv_cache_quant_algo: 'FP8' } },
    'model.safetensors': rawSafetensors([weight, { ...scale, name: 'layer.k_proj.k_scale' }]),
  });
  const checkpoint = await Checkpoint.open(folder);
  expect(checkpoint.quantization?.problem).toBeUndefined();
  expect(checkpoint.names()).toEqual([weight.name]);
  await checkpoint.close();
});

describe('mixed precision', () => {
  const nv = nvfp4({ names: ['weight', 'weight_scale', 'weight_scale_2'] });
  const eight = fp8({ block: [Infinity, Infinity], scaleName: 'weight_scale', shape: () => [] });

  test.each([1, 2])('ModelOpt: FP8, NVFP4 and floats in one model, %d ranks', async (ranks) => {
    const { config, weights } = await golden('nemotron_h');
    const tensors: RawTensor[] = [];
    const floats: RawTensor[] = [];
    const layers: Record<string, unknown> = {};
    for (const [weight, value] of weights) {
      const layer = weight.replace(/\.weight$/, '');
      const pack = weight.endsWith('in_proj.weight')
        ? nv
        : /(up|down|[qkv])_proj\.weight$/.test(weight)
          ? eight
          : undefined;
      if (pack === undefined) {
        tensors.push(plain(weight, value));
        floats.push(plain(weight, value));
        continue;
      }
      layers[layer] = pack === nv ? { quant_algo: 'NVFP4', group_size: 16 } : { quant_algo: 'FP8' };
      const { tensors: own, values } = packed(pack, layer, value);
      tensors.push(...own);
      floats.push(plain(weight, { ...value, data: values }));
    }
    const quantization = { quant_method: 'modelopt', quant_algo: 'MIXED_PRECISION', quantized_layers: layers };
    await expectSameLogits(
      config,
      [{ quantization_config: { ...quantization, ignore: ['lm_head'] } }],
      tensors,
      floats,
      ranks,
    );
  });

  test('compressed-tensors: a group by a pattern goes before that of a class', async () => {
    const data = Float32Array.from({ length: 8 * 32 }, (_, i) => Math.cos(i));
    const names = ['model.layers.0.mixer.in_proj', 'model.layers.0.mixer.out_proj'];
    const integers = caseOf('compressed-tensors int-quantized').pack;
    const floats = fp8({ block: [1, Infinity], scaleName: 'weight_scale' });
    const first = integers(names[0], { rows: 8, columns: 32, data });
    const second = floats(names[1], { rows: 8, columns: 32, data });
    const group = (targets: string[], type: string) => ({
      targets,
      weights: { type, num_bits: 8, strategy: 'channel' },
    });
    const quantization = {
      quant_method: 'compressed-tensors',
      format: 'mixed-precision',
      config_groups: { a: group(['Linear'], 'int'), b: group(['re:.*out_proj$'], 'float') },
    };
    const folder = await makeFolder({
      'config.json': { quantization_config: quantization },
      'model.safetensors': rawSafetensors([...first.tensors, ...second.tensors]),
    });
    const checkpoint = await Checkpoint.open(folder);
    expect(checkpoint.quantization?.problem).toBeUndefined();
    expect(await checkpoint.readFloat32(`${names[0]}.weight`)).toEqual(Float32Array.from(first.values));
    expect(await checkpoint.readFloat32(`${names[1]}.weight`)).toEqual(Float32Array.from(second.values));
    await checkpoint.close();
  });

  test('MLX: a layer with bits of its own', async () => {
    const data = Float32Array.from({ length: 8 * 64 }, (_, i) => Math.cos(i));
    const names = ['model.layers.0.mixer.in_proj', 'model.layers.0.router'];
    const first = mlxAffine({ bits: 4, groupSize: 32 })(names[0], { rows: 8, columns: 64, data });
    const second = mlxAffine({ bits: 8, groupSize: 64 })(names[1], { rows: 8, columns: 64, data });
    const quantization = { bits: 4, group_size: 32, [names[0]]: true, [names[1]]: { bits: 8, group_size: 64 } };
    const folder = await makeFolder({
      'config.json': { quantization },
      'model.safetensors': rawSafetensors([...first.tensors, ...second.tensors]),
    });
    const checkpoint = await Checkpoint.open(folder);
    expect(await checkpoint.readFloat32(`${names[0]}.weight`)).toEqual(Float32Array.from(first.values));
    expect(await checkpoint.readFloat32(`${names[1]}.weight`)).toEqual(Float32Array.from(second.values));
    await checkpoint.close();
  });
});

describe('models as MLX converts them', () => {
  const pack = mlxAffine({ bits: 4, groupSize: 32 });
  const quantization = { quantization: { bits: 4, group_size: 32 } };

  /** Quantises matrices whose columns are whole groups, and renames as MLX does. */
  function convert(weights: ReadonlyMap<string, Weight>) {
    const tensors: RawTensor[] = [];
    const values = new Map<string, Float32Array>();
    for (const [name, value] of weights) {
      const isMatrix = value.shape.length > 1 && !name.includes('conv1d') && (value.shape.at(-1) ?? 0) % 32 === 0;
      if (!isMatrix) {
        const { shape } = value;
        tensors.push(
          plain(name, name.endsWith('conv1d.weight') ? { ...value, shape: [shape[0], shape[2], 1] } : value),
        );
        continue;
      }
      const own = packed(pack, name.replace(/\.weight$/, ''), value);
      tensors.push(...own.tensors);
      values.set(name, own.values);
    }
    return { tensors, values };
  }

  test('Granite: experts gate and up apart, convolutions turned', async () => {
    const { config, weights } = await golden('granitemoehybrid');
    const mlx = new Map<string, Weight>();
    for (const [name, value] of weights) {
      const layer = name.replace(/\.(in|out)put_linear\.weight$/, '');
      if (!name.includes('block_sparse_moe.input_linear')) {
        mlx.set(name.replace('block_sparse_moe.output_linear', 'block_sparse_moe.switch_mlp.down_proj'), value);
        continue;
      }
      const [experts, rows, columns] = value.shape;
      const half = (rows / 2) * columns;
      for (const [i, part] of ['gate_proj', 'up_proj'].entries()) {
        const data = Float32Array.from(
          { length: experts * half },
          (_, at) => value.data[(2 * Math.floor(at / half) + i) * half + (at % half)],
        );
        mlx.set(`${layer}.switch_mlp.${part}.weight`, { shape: [experts, rows / 2, columns], data });
      }
    }
    const { tensors, values } = convert(mlx);
    const floats = [...weights].map(([name, value]) => {
      const [gate, up] = ['gate', 'up'].map((part) =>
        values.get(name.replace('input_linear', `switch_mlp.${part}_proj`)),
      );
      const down = values.get(name.replace('output_linear', 'switch_mlp.down_proj'));
      const isGated = name.includes('block_sparse_moe.input_linear');
      if (!isGated || gate === undefined || up === undefined)
        return plain(name, { ...value, data: down ?? value.data });
      const half = gate.length / value.shape[0];
      const data = Float32Array.from(value.data, (_, i) => {
        const block = Math.floor(i / half);
        return (block % 2 === 0 ? gate : up)[Math.floor(block / 2) * half + (i % half)];
      });
      return plain(name, { ...value, data });
    });
    await expectSameLogits(config, [quantization], tensors, floats);
  });

  test('Falcon-H1: multipliers are in the weights', async () => {
    const { config, weights } = await golden('falcon_h1');
    const { tensors, values } = convert(weights);
    const floats = [...weights].map(([name, value]) => plain(name, { ...value, data: values.get(name) ?? value.data }));
    const multipliers = {
      attention_in_multiplier: 1,
      embedding_multiplier: 3,
      lm_head_multiplier: 0.5,
      key_multiplier: 0.7,
    };
    const ones = {
      embedding_multiplier: 1,
      lm_head_multiplier: 1,
      attention_out_multiplier: 1,
      ssm_in_multiplier: 1,
      ssm_out_multiplier: 1,
      ssm_multipliers: [1, 1, 1, 1, 1],
      mlp_multipliers: [1, 1],
    };
    await expectSameLogits(
      config,
      [
        { ...multipliers, ...quantization },
        { ...multipliers, ...ones },
      ],
      tensors,
      floats,
    );
  });

  test('Nemotron-H: experts are stacked', async () => {
    const { config, weights } = await golden('variants/nemotron-experts');
    const tensors: RawTensor[] = [];
    const stacks = new Map<string, Weight[]>();
    const numbered = [...weights].sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true }));
    for (const [name, value] of numbered) {
      const stack = name
        .replace(/experts\.\d+\.up_proj/, 'switch_mlp.fc1')
        .replace(/experts\.\d+\.down_proj/, 'switch_mlp.fc2');
      const { shape } = value;
      if (stack !== name) stacks.set(stack, [...(stacks.get(stack) ?? []), value]);
      else if (name.endsWith('conv1d.weight')) tensors.push(plain(name, { ...value, shape: [shape[0], shape[2], 1] }));
      else tensors.push(plain(name, value));
    }
    for (const [name, parts] of stacks) {
      tensors.push(
        plain(name, {
          shape: [parts.length, ...parts[0].shape],
          data: Float32Array.from(parts.flatMap(({ data }) => [...data])),
        }),
      );
    }
    const floats = [...weights].map(([name, value]) => plain(name, value));
    await expectSameLogits(config, [quantization], tensors, floats);
  });
});
