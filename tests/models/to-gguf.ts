import { Checkpoint } from '../../src/checkpoint/checkpoint.ts';
import type { Bytes } from '../checkpoint/gguf/gguf-writer.ts';
import { value, writeGguf } from '../checkpoint/gguf/gguf-writer.ts';

/** A tensor in memory. */
interface Values {
  readonly shape: readonly number[];
  readonly values: Float32Array<ArrayBuffer>;
}

/** A config.json, of the models that are converted here: they have the keys that are asked for. */
type Config = Readonly<Record<string, unknown>>;

type Converted = readonly (readonly [name: string, tensor: Values])[];

/** What a tensor of a layer becomes, by the part of its name after the layer's. The first rule that fits is used. */
const RULES: readonly (readonly [RegExp, (tensor: Values, config: Config, match: RegExpExecArray) => Converted])[] = [
  [/A_log$/, ({ values }) => [['ssm_a', { shape: [values.length, 1], values: values.map((x) => -Math.exp(x)) }]]],
  [/\.D$/, ({ values }) => [['ssm_d', { shape: [values.length, 1], values }]]],
  [/\.dt_bias$/, (tensor) => [['ssm_dt.bias', tensor]]],
  [/\.conv1d\.weight$/, ({ shape, values }) => [['ssm_conv1d.weight', { shape: [shape[0], shape[2]], values }]]],
  [/\.conv1d\.bias$/, (tensor) => [['ssm_conv1d.bias', tensor]]],
  [
    /(mamba|mixer)\.norm\.weight$/,
    ({ values }, config) => {
      const groups = Number(config.mamba_n_groups ?? config.n_groups);
      return [['ssm_norm.weight', { shape: [groups, values.length / groups], values }]];
    },
  ],
  [/\.(in|out)_proj\.(\w+)$/, (tensor, _, [, which, kind]) => [[`ssm_${which}.${kind}`, tensor]]],
  [/\.([qk])_proj\.(\w+)$/, (tensor, config, [, which, kind]) => [[`attn_${which}.${kind}`, inPairs(tensor, config)]]],
  [/\.v_proj\.(\w+)$/, (tensor, _, [, kind]) => [[`attn_v.${kind}`, tensor]]],
  [/\.o_proj\.(\w+)$/, (tensor, _, [, kind]) => [[`attn_output.${kind}`, tensor]]],
  [/^(input_layernorm|norm)\.weight$/, (tensor) => [['attn_norm.weight', tensor]]],
  [/^post_attention_layernorm\.weight$/, (tensor) => [['ffn_norm.weight', tensor]]],
  [
    /^pre_ff_layernorm\.weight$/,
    (tensor, config) => [[config.model_type === 'falcon_h1' ? 'ffn_norm' : 'ffn_norm.weight', tensor]],
  ],
  [/router\.layer\.weight$|gate\.weight$/, (tensor) => [['ffn_gate_inp.weight', tensor]]],
  [/e_score_correction_bias$/, (tensor) => [['exp_probs_b.bias', tensor]]],
  [/fc1_latent_proj\.(\w+)$/, (tensor, _, [, kind]) => [[`ffn_latent_down.${kind}`, tensor]]],
  [/fc2_latent_proj\.(\w+)$/, (tensor, _, [, kind]) => [[`ffn_latent_up.${kind}`, tensor]]],
  [/shared_experts\.(up|down)_proj\.(\w+)$/, (tensor, _, [, which, kind]) => [[`ffn_${which}_shexp.${kind}`, tensor]]],
  // Several tensors of these names are stacked afterwards.
  [/experts(\.\d+)?\.(up|down)_proj/, (tensor, _, [, , which]) => [[`ffn_${which}_exps.weight`, tensor]]],
  [
    /block_sparse_moe\.input_linear\.weight$/,
    (tensor) => halves(tensor, 1, 'ffn_gate_exps.weight', 'ffn_up_exps.weight'),
  ],
  [/block_sparse_moe\.output_linear\.weight$/, (tensor) => [['ffn_down_exps.weight', tensor]]],
  [
    /shared_mlp\.input_linear\.weight$/,
    (tensor, config) => {
      const suffix = hasExperts(config) ? '_shexp' : '';
      return halves(tensor, 0, `ffn_gate${suffix}.weight`, `ffn_up${suffix}.weight`);
    },
  ],
  [
    /shared_mlp\.output_linear\.weight$/,
    (tensor, config) => [[`ffn_down${hasExperts(config) ? '_shexp' : ''}.weight`, tensor]],
  ],
  [/\.(gate|up|down)_proj\.(\w+)$/, (tensor, _, [, which, kind]) => [[`ffn_${which}.${kind}`, tensor]]],
];

/** Names in the one block that layers for multi-token prediction become, of those that other layers don't have. */
const PREDICTOR: Readonly<Record<string, string>> = {
  '0.enorm.weight': 'nextn.enorm.weight',
  '0.hnorm.weight': 'nextn.hnorm.weight',
  '0.eh_proj.weight': 'nextn.eh_proj.weight',
  '1.norm.weight': 'post_attention_norm.weight',
  '1.final_layernorm.weight': 'nextn.shared_head_norm.weight',
};

/** A model of Hugging Face as a GGUF file in float32, with the transforms of llama.cpp's converter. */
export async function toGguf(folder: string): Promise<Uint8Array<ArrayBuffer>> {
  const checkpoint = await Checkpoint.open(folder);
  try {
    const { config } = checkpoint;
    const tensors = new Map<string, Values[]>();
    // Experts lie in any order, and are stacked in that of their numbers.
    for (const name of checkpoint.names().sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))) {
      const values = Float32Array.from(await checkpoint.readFloat32(name));
      const tensor = withFactors(name, { shape: checkpoint.tensor(name).shape, values }, config);
      for (const [own, part] of converted(name, tensor, config)) tensors.set(own, [...(tensors.get(own) ?? []), part]);
    }
    return writeGguf({
      metadata: metadataOf(config, tensors),
      tensors: [...tensors].map(([name, parts]) => {
        const { shape, values } = parts.length === 1 ? parts[0] : stackOf(parts);
        return { name, shape, data: new Uint8Array(values.buffer) };
      }),
    });
  } finally {
    await checkpoint.close();
  }
}

function converted(name: string, tensor: Values, config: Config): Converted {
  if (/(embed_tokens|embeddings?)\.weight$/.test(name)) return [['token_embd.weight', tensor]];
  if (/^(model|backbone)\.(norm|norm_f|final_layernorm)\.weight$/.test(name)) return [['output_norm.weight', tensor]];
  if (name === 'lm_head.weight') return [['output.weight', tensor]];
  const predictor = /^mtp\.layers\.(.+)$/.exec(name)?.[1];
  const own = PREDICTOR[predictor ?? ''];
  if (own) return [[`blk.${config.num_hidden_layers}.${own}`, tensor]];
  const named = predictor ? `backbone.layers.${config.num_hidden_layers}.${predictor.slice(2)}` : name;
  const [, layer, rest] = /^(?:model|backbone)\.layers\.(\d+)\.(.+)$/.exec(named) ?? [];
  for (const [pattern, convert] of RULES) {
    const match = pattern.exec(rest ?? '');
    if (match) return convert(tensor, config, match).map(([own, part]) => [`blk.${layer}.${own}`, part]);
  }
  throw new Error(`'${name}' has no name in GGUF.`);
}

/** Falcon-H1's multipliers, which are in the weights there. */
function withFactors(name: string, { shape, values }: Values, config: Config): Values {
  if (config.model_type !== 'falcon_h1') return { shape, values };
  const number = (key: string) => Number(config[key]);
  const list = (key: string) => config[key] as number[];
  const states = number('mamba_n_groups') * number('mamba_d_state');
  const inner = Number(config.mamba_d_ssm ?? number('mamba_expand') * number('hidden_size'));
  const parts = [inner, inner, states, states, number('mamba_n_heads')];
  const ofRows = parts.flatMap((size, i) => Array.from({ length: size }, () => list('ssm_multipliers')[i]));
  // Biases come after a factor of the inputs.
  const ofInputs = (key: string) => (name.endsWith('.bias') ? 1 : number(key));
  const attention = ofInputs('attention_in_multiplier');
  const factors: Readonly<Record<string, (row: number) => number>> = {
    embed_tokens: () => number('embedding_multiplier'),
    lm_head: () => number('lm_head_multiplier'),
    q_proj: () => attention,
    k_proj: () => attention * number('key_multiplier'),
    v_proj: () => attention,
    o_proj: () => number('attention_out_multiplier'),
    gate_proj: () => list('mlp_multipliers')[0],
    down_proj: () => list('mlp_multipliers')[1],
    in_proj: (row) => ofRows[row] * ofInputs('ssm_in_multiplier'),
    out_proj: () => number('ssm_out_multiplier'),
  };
  const factor = factors[name.split('.').at(-2) ?? ''] ?? (() => 1);
  const rowSize = values.length / shape[0];
  return { shape, values: values.map((x, i) => x * factor(Math.floor(i / rowSize))) };
}

/** Rows that are rotated together next to each other, in the models whose converter does that. */
function inPairs({ shape, values }: Values, config: Config): Values {
  if (config.model_type === 'falcon_h1') return { shape, values };
  const head = headDim(config);
  const rotated = rotatedColumns(config);
  const rowSize = values.length / shape[0];
  const out = new Float32Array(values.length);
  for (let row = 0; row < shape[0]; row++) {
    const column = row % head;
    const half = rotated / 2;
    const to = column >= rotated ? row : row - column + 2 * (column % half) + Math.floor(column / half);
    out.set(values.subarray(row * rowSize, (row + 1) * rowSize), to * rowSize);
  }
  return { shape, values: out };
}

/** The first and the second half along an axis: gate and up. */
function halves({ shape, values }: Values, axis: 0 | 1, first: string, second: string): Converted {
  const matrices = axis === 0 ? 1 : shape[0];
  const half = values.length / matrices / 2;
  const part = (which: number): Values => {
    const out = new Float32Array(matrices * half);
    for (let i = 0; i < matrices; i++)
      out.set(values.subarray((2 * i + which) * half, (2 * i + which + 1) * half), i * half);
    return { shape: shape.map((size, i) => (i === axis ? size / 2 : size)), values: out };
  };
  return [
    [first, part(0)],
    [second, part(1)],
  ];
}

function stackOf(parts: readonly Values[]): Values {
  const [{ shape, values }] = parts;
  const out = new Float32Array(parts.length * values.length);
  for (const [i, part] of parts.entries()) out.set(part.values, i * values.length);
  return { shape: [parts.length, ...shape], values: out };
}

function hasExperts({ num_local_experts = 0 }: Config): boolean {
  return Number(num_local_experts) > 0;
}

function headDim(config: Config): number {
  return Number(config.head_dim ?? Number(config.hidden_size) / Number(config.num_attention_heads));
}

function rotatedColumns(config: Config): number {
  return headDim(config) * Number(config.partial_rotary_factor ?? 1);
}

const ARCHITECTURES: Readonly<Record<string, string>> = {
  mamba2: 'mamba2',
  bamba: 'granitehybrid',
  granitemoehybrid: 'granitehybrid',
  falcon_h1: 'falcon-h1',
  nemotron_h: 'nemotron_h',
};

function metadataOf(config: Config, tensors: ReadonlyMap<string, readonly Values[]>): Record<string, Bytes> {
  const isNemotron = config.model_type === 'nemotron_h';
  const layers = new Set([...tensors.keys()].flatMap((name) => /^blk\.(\d+)\./.exec(name)?.[1] ?? [])).size;
  const ofLayers = (tensor: string, number: number) =>
    value.u32s(Array.from({ length: layers }, (_, i) => (tensors.has(`blk.${i}.${tensor}.weight`) ? number : 0)));
  const experts = Number(isNemotron ? (config.n_routed_experts ?? 0) : (config.num_local_experts ?? 0));
  const isMoe = [...tensors.keys()].some((name) => name.includes('ffn_gate_inp'));
  const architecture = `${ARCHITECTURES[String(config.model_type)]}${isNemotron && isMoe ? '_moe' : ''}`;
  const heads = Number(config.mamba_n_heads ?? config.mamba_num_heads ?? config.num_heads);
  const inner = [...tensors].find(([name]) => name.endsWith('ssm_out.weight'))?.[1][0].shape[1];
  const u32 = (key: string, number: unknown) => ({ [key]: value.u32(Number(number)) });
  const f32 = (key: string, number: unknown) => (number === undefined ? {} : { [key]: value.f32(Number(number)) });
  const rope = config.rope_parameters as Record<string, unknown> | undefined;
  const all = {
    ...u32('block_count', layers),
    ...(config.num_nextn_predict_layers === undefined
      ? {}
      : u32('nextn_predict_layers', config.num_nextn_predict_layers)),
    ...u32('embedding_length', config.hidden_size),
    ...u32('ssm.conv_kernel', config.mamba_d_conv ?? config.conv_kernel),
    ...u32('ssm.inner_size', inner),
    ...u32('ssm.state_size', config.mamba_d_state ?? config.ssm_state_size ?? config.state_size),
    ...u32('ssm.time_step_rank', heads),
    ...u32('ssm.group_count', config.mamba_n_groups ?? config.n_groups ?? 1),
    ...f32('attention.layer_norm_rms_epsilon', config.layer_norm_epsilon ?? config.rms_norm_eps),
    ...(config.num_attention_heads === undefined
      ? {}
      : {
          ...u32('attention.head_count', config.num_attention_heads),
          'attention.head_count_kv': ofLayers('attn_k', Number(config.num_key_value_heads)),
          ...u32('attention.key_length', headDim(config)),
          ...u32('rope.dimension_count', rotatedColumns(config)),
          ...f32('rope.freq_base', config.rope_theta ?? rope?.rope_theta),
        }),
    ...(architecture === 'granitehybrid'
      ? {
          'rope.scaling.finetuned': value.bool(
            config.model_type === 'bamba' || config.position_embedding_type === 'rope',
          ),
        }
      : {}),
    ...f32('attention.scale', config.attention_multiplier),
    ...(config.model_type === 'granitemoehybrid'
      ? {
          ...f32('embedding_scale', config.embedding_multiplier),
          ...f32('residual_scale', config.residual_multiplier),
          ...f32('logit_scale', config.logits_scaling),
        }
      : {}),
    ...(isMoe
      ? {
          ...u32('expert_count', experts),
          ...u32('expert_used_count', config.num_experts_per_tok),
          ...u32('expert_group_count', config.n_group ?? 0),
          ...u32('expert_group_used_count', config.topk_group ?? 0),
          ...f32('expert_weights_scale', config.routed_scaling_factor),
          expert_weights_norm: value.bool(config.norm_topk_prob === true),
        }
      : {}),
  };
  return {
    'general.architecture': value.string(architecture),
    ...Object.fromEntries(Object.entries(all).map(([key, entry]) => [`${architecture}.${key}`, entry])),
  };
}
