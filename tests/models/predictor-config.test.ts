import { describe, expect, test } from 'vitest';
import { ReferenceBackend } from '../../src/backends/reference/reference-backend.ts';
import type { JsonObject } from '../../src/checkpoint/json/json.ts';
import { singleProcess } from '../../src/distributed/process-group.ts';
import { ArgumentError, ConfigError } from '../../src/errors.ts';
import { LayerContext, type Stage } from '../../src/layers/parameters/layer-context.ts';
import { ParameterTable } from '../../src/layers/parameters/parameter.ts';
import { canPredict, defineModel } from '../../src/models/registry.ts';
import { hybridFolder } from '../engine/hybrid-folders.ts';
import { readConfig } from './model-rig.ts';

const golden = await readConfig(hybridFolder('variants/nemotron-mtp'));

function modelOf(change: JsonObject, stage?: Stage, mtp = true) {
  const definition = defineModel({ ...golden, ...change }, [], { mtp });
  return definition.create(new LayerContext(new ReferenceBackend(), singleProcess, 'float32', { stage }));
}

/** Names of the weights for multi-token prediction, and their shapes. */
function weights(change: JsonObject, stage?: Stage): Map<string, readonly number[]> {
  const table = new ParameterTable(modelOf(change, stage));
  const own = table.names().filter((name) => name.startsWith('mtp.'));
  return new Map(own.map((name) => [name, table.shape(name)]));
}

describe('layers for multi-token prediction', () => {
  test('are told by letters, by a list, or are attention and experts', () => {
    const { mtp_hybrid_override_pattern: _, ...rest } = golden;
    const names = [...weights({}).keys()];
    expect(names).toContain('mtp.layers.0.eh_proj.weight');
    expect(names).toContain('mtp.layers.1.mixer.experts.7.down_proj.weight');
    expect([...weights({ mtp_layers_block_type: ['attention', 'moe'] }).keys()]).toEqual(names);
    const definition = defineModel(rest, [], { mtp: true });
    const model = definition.create(new LayerContext(new ReferenceBackend(), singleProcess, 'float32'));
    expect(new ParameterTable(model).names()).toEqual(new ParameterTable(modelOf({})).names());
    const reversed = weights({ mtp_hybrid_override_pattern: '-*' });
    expect(reversed.get('mtp.layers.0.mixer.up_proj.weight')).toEqual([14, 16]);
    expect(reversed.has('mtp.layers.1.final_layernorm.weight')).toBe(true);
  });

  test('may have sizes of their own', () => {
    const block = (more: JsonObject) => ({ mtp_block_configs: [{ block_type: 'attention' }, { ...more }] });
    const own = weights(
      block({ block_type: 'moe', moe_intermediate_size: 4, n_routed_experts: 4, num_experts_per_tok: 2 }),
    );
    expect(own.get('mtp.layers.1.mixer.experts.3.up_proj.weight')).toEqual([4, 9]);
    expect(own.has('mtp.layers.1.mixer.experts.4.up_proj.weight')).toBe(false);
    expect(weights({ mtp_n_routed_experts: 16 }).get('mtp.layers.1.mixer.gate.weight')).toEqual([16, 16]);
    // Checked also where the model itself has no experts.
    expect(() => weights({ layers_block_type: ['mamba'], num_experts_per_tok: 99 })).toThrow(ConfigError);
  });

  test('are those of the last stage, which has the embeddings for them', () => {
    expect(weights({}, { begin: 0, end: 2 }).size).toBe(0);
    const last = modelOf({}, { begin: 2, end: 4 });
    expect(new ParameterTable(last).names()).toContain('backbone.embeddings.weight');
    expect(last.predictorSize).toBe(16);
    // The model's own attention, and that of these layers.
    expect(last.kvCacheSizes).toHaveLength(2);
  });

  test('are made only where they are asked for, and there must be one module of known layers', () => {
    expect(modelOf({}, undefined, false)).toMatchObject({ predictorSize: 0 });
    expect(() => modelOf({ num_nextn_predict_layers: 0 })).toThrow(ArgumentError);
    expect(() => modelOf({ num_nextn_predict_layers: 2 })).toThrow(ConfigError);
    for (const pattern of ['*M', '**', '']) {
      const config = { ...golden, mtp_hybrid_override_pattern: pattern };
      expect(() => defineModel(config, [], { mtp: true })).toThrow(/are supported/);
      // Other commands leave such layers out.
      expect(canPredict(config, [])).toBe(false);
    }
    expect(() => defineModel(golden, ['backbone.embeddings.weight'], { mtp: true })).toThrow(/no tensors 'mtp\.\*'/);
    expect(canPredict(golden, ['mtp.layers.0.eh_proj.weight', 'a', 'b', 'c'])).toBe(true);
    expect(canPredict({ ...golden, num_nextn_predict_layers: 2 }, [])).toBe(false);
  });
});
