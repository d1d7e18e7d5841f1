import { expect, test } from 'vitest';
import { ReferenceBackend } from '../../src/backends/reference/reference-backend.ts';
import { singleProcess } from '../../src/distributed/process-group.ts';
import { LayerContext } from '../../src/layers/parameters/layer-context.ts';
import { defineModel } from '../../src/models/registry.ts';
import { linear } from '../backends/oracle/dense.ts';
import { route } from '../backends/oracle/feed-forward.ts';
import { loadSeeded } from '../layers/mixer-rig.ts';
import { largestError } from '../layers/seeded.ts';

const C = 12;
const LATENT = 6;
const CONFIG = {
  architectures: ['NemotronHForCausalLM'],
  vocab_size: 9,
  hidden_size: C,
  hybrid_override_pattern: 'E',
  mlp_bias: true,
  n_routed_experts: 8,
  num_experts_per_tok: 3,
  n_group: 4,
  topk_group: 2,
  moe_intermediate_size: 5,
  moe_shared_expert_intermediate_size: 7,
  moe_latent_size: LATENT,
  routed_scaling_factor: 2.5,
  norm_topk_prob: true,
};

/** One row through a layer of experts, written from transformers' description of it, in float64. */
function expected(weights: Readonly<Record<string, Float32Array>>, token: number): Float64Array {
  const get = (name: string) => weights[`backbone.layers.0.mixer.${name}`];
  const project = (x: ArrayLike<number>, name: string, bias = true) => {
    const w = get(`${name}.weight`);
    return linear(Float32Array.from(x), w, x.length, w.length / x.length, bias ? get(`${name}.bias`) : undefined);
  };
  const norm = (x: ArrayLike<number>, weight: Float32Array) => {
    const values = Array.from(x);
    const root = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length + 1e-5);
    return values.map((value, i) => (value / root) * weight[i]);
  };
  const squaredRelu = (x: ArrayLike<number>) => Array.from(x, (value) => Math.max(value, 0) ** 2);
  const hidden = weights['backbone.embeddings.weight'].slice(token * C, (token + 1) * C);
  const x = norm(hidden, weights['backbone.layers.0.norm.weight']);
  const routing = {
    topK: 3,
    scoring: 'sigmoid',
    numGroups: 4,
    topKGroups: 2,
    renormalize: true,
    scale: 2.5,
  } as const;
  const gates = route([...project(x, 'gate', false)], routing, [...get('gate.e_score_correction_bias')]);
  expect(gates.filter((gate) => gate > 0)).toHaveLength(3);
  const latent = project(x, 'fc1_latent_proj');
  const routed = new Float64Array(LATENT);
  for (const [e, gate] of gates.entries()) {
    const up = squaredRelu(project(latent, `experts.${e}.up_proj`, false));
    project(up, `experts.${e}.down_proj`, false).forEach((value, c) => {
      routed[c] += gate * value;
    });
  }
  const shared = project(squaredRelu(project(x, 'shared_experts.up_proj')), 'shared_experts.down_proj');
  const sum = project(routed, 'fc2_latent_proj').map((value, c) => value + shared[c] + hidden[c]);
  const last = Float32Array.from(norm(sum, weights['backbone.norm_f.weight']));
  return linear(last, weights['lm_head.weight'], C, 9);
}

test("Nemotron-H's experts: sigmoid routing with a correction bias, groups, fewer columns, a shared expert", async () => {
  const backend = new ReferenceBackend();
  const model = defineModel(CONFIG).create(new LayerContext(backend, singleProcess, 'float32'));
  const weights = loadSeeded(model, 5);
  const ids = Int32Array.from([0, 3, 8, 3]);
  const hidden = model.forward({ inputIds: backend.tensor(ids, [4]) });
  const logits = await backend.read(model.computeLogits(hidden));
  for (const [t, id] of ids.entries()) {
    expect(largestError(logits.slice(9 * t, 9 * t + 9), expected(weights, id))).toBeLessThan(1e-5);
  }
});
