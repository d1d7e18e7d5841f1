import { describe, expect, test } from 'vitest';
import { ConfigReader } from '../../src/checkpoint/json/config-reader.ts';
import type { JsonObject } from '../../src/checkpoint/json/json.ts';
import { ConfigError } from '../../src/errors.ts';
import { inverseFrequencies } from '../../src/layers/attention/rotary-embedding.ts';
import { readRope } from '../../src/models/config/rope-config.ts';

function rope(json: JsonObject, headDim = 8) {
  return readRope(new ConfigReader(json, 'config.json'), headDim);
}

describe('rotary embeddings of a config', () => {
  test('old keys and new ones', () => {
    const plain = { theta: 500, rotaryDim: 4, scaling: { type: 'default' } };
    expect(rope({ rope_theta: 500, partial_rotary_factor: 0.5 })).toEqual(plain);
    expect(rope({ rope_parameters: { rope_type: 'default', rope_theta: 500, partial_rotary_factor: 0.5 } })).toEqual(
      plain,
    );
    expect(rope({ rope_theta: 1e11, rope_scaling: null })).toMatchObject({ theta: 1e11, rotaryDim: 8 });
    const linear = { type: 'linear', factor: 4 };
    expect(rope({ rope_scaling: linear }).scaling).toEqual(linear);
    expect(rope({ rope_parameters: { rope_type: 'linear', factor: 4 } }).scaling).toEqual(linear);
  });

  test.each<[JsonObject, RegExp]>([
    [{ rope_scaling: { type: 'dynamic', factor: 2 } }, /dynamic/],
    [{ rope_parameters: { rope_type: 'longrope', long_factor: [], short_factor: [] } }, /longrope/],
    [{ rope_scaling: { type: 'linear' } }, /factor/],
    [{ partial_rotary_factor: 0.4 }, /makes 3/],
    [{ partial_rotary_factor: 0 }, /makes 0/],
  ])('%j: ConfigError', (json, message) => {
    expect(() => rope(json)).toThrow(ConfigError);
    expect(() => rope(json)).toThrow(message);
  });

  test('frequencies fall from 1 to 1/θ, or by a factor', () => {
    expect(inverseFrequencies(rope({ rope_theta: 10000 }))).toEqual(
      [1, 0.1, 0.01, 0.001].map((f) => expect.closeTo(f, 12)),
    );
    const linear = rope({ rope_theta: 10000, rope_scaling: { type: 'linear', factor: 4 } });
    expect(inverseFrequencies(linear)[1]).toBeCloseTo(0.025, 12);
  });

  test('llama3 stretches long waves alone', () => {
    const scaling = { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4 };
    const json = { rope_parameters: { ...scaling, rope_theta: 500000, original_max_position_embeddings: 8192 } };
    const plain = inverseFrequencies(rope({ rope_theta: 500000 }, 128));
    const found = inverseFrequencies(rope(json, 128));
    expect(found[0]).toBe(1);
    expect(found[63]).toBeCloseTo(plain[63] / 8, 12);
    // Wave 30 turns 8192 / (2π / f) = 2.778 times: between 1 and 4, so it is mixed.
    const turns = (8192 * plain[30]) / (2 * Math.PI);
    const smooth = (turns - 1) / 3;
    expect(turns).toBeGreaterThan(1);
    expect(turns).toBeLessThan(4);
    expect(found[30]).toBeCloseTo(plain[30] * ((1 - smooth) / 8 + smooth), 12);
    expect(found.every((frequency, i) => i === 0 || frequency < found[i - 1])).toBe(true);
  });

  test('yarn keeps short waves, stretches long ones, and sharpens attention', () => {
    const scaling = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 4096 };
    const found = rope({ rope_parameters: { ...scaling, rope_theta: 10000 } }, 64);
    expect(found.scaling).toMatchObject({
      betaFast: 32,
      betaSlow: 1,
      attentionFactor: expect.closeTo(0.1 * Math.log(4) + 1, 12),
    });
    const plain = inverseFrequencies(rope({ rope_theta: 10000 }, 64));
    const frequencies = inverseFrequencies(found);
    expect(frequencies[0]).toBe(1);
    expect(frequencies[31]).toBeCloseTo(plain[31] / 4, 12);
    // Columns where a wave turns 32 times and once in 4096 tokens: 10.47 and 22.51, rounded outwards.
    const part = (16 - 10) / (23 - 10);
    expect(frequencies[16]).toBeCloseTo(plain[16] * (part / 4 + 1 - part), 12);
  });

  test('the old context and the factor: from the scaling first, or from the config', () => {
    const scaling = { rope_type: 'yarn', rope_theta: 10000, factor: 4 };
    const found = (json: JsonObject, change: JsonObject = {}) =>
      rope({ rope_parameters: { ...scaling, ...change }, ...json }).scaling;
    const own = { original_max_position_embeddings: 64 };
    expect(found({ original_max_position_embeddings: 32, max_position_embeddings: 256 }, own)).toMatchObject({
      factor: 4,
      originalMaxPositionEmbeddings: 64,
    });
    expect(found({ original_max_position_embeddings: 32, max_position_embeddings: 256 })).toMatchObject({
      originalMaxPositionEmbeddings: 32,
    });
    expect(found({ max_position_embeddings: 256 })).toMatchObject({ originalMaxPositionEmbeddings: 256 });
    expect(found({ max_position_embeddings: 512 }, { ...own, factor: null })).toMatchObject({ factor: 8 });
  });

  test("yarn's factor given, or from DeepSeek's weights", () => {
    const scaling = { rope_type: 'yarn', factor: 4, max_position_embeddings: 4096 };
    const factor = (change: JsonObject) =>
      rope({ max_position_embeddings: 4096, rope_parameters: { ...scaling, ...change } }).scaling;
    expect(factor({ attention_factor: 1.5 })).toMatchObject({ attentionFactor: 1.5 });
    expect(factor({ mscale: 1, mscale_all_dim: 1 })).toMatchObject({ attentionFactor: 1 });
  });
});
