"""Writes the golden folders beside this file: `python3 make_variants.py`, with NumPy.

Each is a tiny random model whose config switches on what the models of transformers in the parent folder leave off. The
forward passes are written from what transformers computes, in float64 and token by token, and share nothing with the
project. On the models of the parent folder they agree with transformers' logits to 2e-4: `python3 make_variants.py check`.
"""

import json
import math
import struct
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
VOCAB = 37


class Weights(dict):
    """Tensors by name, drawn when a forward pass first asks for them."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)

    def __call__(self, name, *shape, scale=None, around=0.0):
        if name not in self:
            values = around + self.random.standard_normal(shape) * (scale or shape[-1] ** -0.5)
            self[name] = values.astype(np.float32)
        return self[name].astype(np.float64)

    def linear(self, name, x, size, bias=False):
        y = x @ self(name + '.weight', size, x.shape[-1]).T
        return y + self(name + '.bias', size, scale=0.3) if bias else y

    def norm(self, name, x, eps, groups=1):
        rows = x.reshape(len(x), groups, -1)
        rows = rows / np.sqrt((rows**2).mean(-1, keepdims=True) + eps)
        return rows.reshape(x.shape) * self(name + '.weight', x.shape[-1], scale=0.3, around=1.0)


def silu(x):
    return x / (1 + np.exp(-x))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


ACTIVATIONS = {
    'silu': silu,
    'gelu': lambda x: 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    'gelu_pytorch_tanh': gelu_tanh,
    'relu2': lambda x: np.maximum(x, 0) ** 2,
}


def mixer(w, name, u, *, heads, head_dim, state, groups, taps, activation, eps, limit, bias, conv_bias, out_bias=None,
          norm='after gate', norm_groups=1, factors=None):
    T, inner, grouped = len(u), heads * head_dim, groups * state
    projected = w.linear(name + '.in_proj', u, 2 * inner + 2 * grouped + heads, bias)
    if factors is not None:
        projected = projected * np.repeat(factors, [inner, inner, grouped, grouped, heads])
    gate, xBC, dt = np.split(projected, [inner, 2 * inner + 2 * grouped], axis=1)
    past = np.concatenate([np.zeros((taps - 1, xBC.shape[1])), xBC])
    kernel = w(name + '.conv1d.weight', xBC.shape[1], 1, taps)
    xBC = sum(past[k:k + T] * kernel[:, 0, k] for k in range(taps))
    if conv_bias:
        xBC = xBC + w(name + '.conv1d.bias', xBC.shape[1], scale=0.2)
    x, B, C = np.split(ACTIVATIONS[activation](xBC), [inner, inner + grouped], axis=1)
    x = x.reshape(T, heads, head_dim)
    B, C = (np.repeat(part.reshape(T, groups, state), heads // groups, axis=1) for part in (B, C))
    A = -np.exp(w(name + '.A_log', heads, scale=0.7, around=0.5))
    dt = np.clip(np.log1p(np.exp(dt + w(name + '.dt_bias', heads, scale=1.0, around=-2.0))), *limit)
    D = w(name + '.D', heads, scale=1.0)
    h, y = np.zeros((heads, head_dim, state)), np.zeros_like(x)
    for t in range(T):
        h = h * np.exp(dt[t] * A)[:, None, None] + (dt[t][:, None] * x[t])[..., None] * B[t][:, None]
        y[t] = (h * C[t][:, None]).sum(-1) + D[:, None] * x[t]
    y = y.reshape(T, inner)
    if norm == 'before gate':
        y = w.norm(name + '.norm', y, eps, norm_groups)
    y = y * silu(gate)
    if norm == 'after gate':
        y = w.norm(name + '.norm', y, eps, norm_groups)
    return w.linear(name + '.out_proj', y, u.shape[1], bias if out_bias is None else out_bias)


def frequencies(c, head_dim, partial=1.0):
    """Of each pair of columns, and the factor of cosines and sines."""
    rope = c.get('rope_parameters') or c.get('rope_scaling') or {}
    theta = rope.get('rope_theta', c.get('rope_theta', 10000.0))
    kind, factor = rope.get('rope_type', rope.get('type')), rope.get('factor')
    old = rope.get('original_max_position_embeddings')
    size = int(head_dim * rope.get('partial_rotary_factor', partial))
    plain = theta ** -(np.arange(0, size, 2) / size)
    if kind == 'linear':
        return plain / factor, 1.0
    if kind == 'llama3':
        low, high = rope['low_freq_factor'], rope['high_freq_factor']
        smooth = np.clip((old * plain / (2 * math.pi) - low) / (high - low), 0, 1)
        return plain * (smooth + (1 - smooth) / factor), 1.0
    if kind == 'yarn':
        def column(turns):
            return size * math.log(old / (turns * 2 * math.pi)) / (2 * math.log(theta))

        first, last = max(math.floor(column(32)), 0), min(math.ceil(column(1)), size - 1)
        stretched = np.clip((np.arange(size // 2) - first) / (last - first), 0, 1)
        return plain * (stretched / factor + 1 - stretched), 0.1 * math.log(factor) + 1
    return plain, 1.0


def rotate(x, rope):
    frequency, scale = rope
    angles = np.arange(len(x))[:, None, None] * frequency
    cos, sin, pairs = scale * np.cos(angles), scale * np.sin(angles), len(frequency)
    first, second = x[..., :pairs], x[..., pairs:2 * pairs]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin, x[..., 2 * pairs:]], -1)


def in_sight(T, window):
    """Whether token t sees key s: its own and the window - 1 before it."""
    back = np.arange(T)[:, None] - np.arange(T)
    return (back >= 0) & (back < (window or T))


def attention(w, name, x, *, heads, kv_heads, head_dim, hidden, scale, bias=False, rope=None, key_factor=1.0, deltas=None,
              window=None):
    T, sizes = len(x), [heads * head_dim, kv_heads * head_dim, kv_heads * head_dim]
    parts = [w.linear(f'{name}.{letter}_proj', x, size, bias) for letter, size in zip('qkv', sizes)]
    if deltas is not None:
        parts = [part + delta for part, delta in zip(parts, deltas)]
    q, k, v = (part.reshape(T, -1, head_dim) for part in parts)
    k = k * key_factor
    if rope is not None:
        q, k = rotate(q, rope), rotate(k, rope)
    k, v = (np.repeat(part, heads // kv_heads, axis=1) for part in (k, v))
    scores = np.where(in_sight(T, window), np.einsum('thd,shd->hts', q, k) * scale, -np.inf)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    y = np.einsum('hts,shd->thd', scores / scores.sum(-1, keepdims=True), v)
    return w.linear(name + '.o_proj', y.reshape(T, -1), hidden, bias)


def gated_mlp(w, name, x, size, activation, bias, gate_factor=1.0):
    gate = w.linear(name + '.gate_proj', x, size, bias) * gate_factor
    up = w.linear(name + '.up_proj', x, size, bias)
    return w.linear(name + '.down_proj', activation(gate) * up, x.shape[1], bias)


def head(w, c, embeddings, x, tied=False):
    name = embeddings if c.get('tie_word_embeddings', tied) else 'lm_head'
    return x @ w(name + '.weight', c['vocab_size'], c['hidden_size'], scale=None if name == 'lm_head' else 1.0).T


def embed(w, c, name, ids):
    return w(name + '.weight', c['vocab_size'], c['hidden_size'], scale=1.0)[ids]


def read_limit(c):
    low, high = c.get('time_step_limit') or [0, math.inf]
    return low, math.inf if isinstance(high, dict) else high


def prefixed_mixer(c):
    inner = c.get('mamba_d_ssm') or int(c.get('mamba_expand', 2) * c['hidden_size'])
    heads = c['mamba_n_heads']
    return dict(heads=heads, head_dim=inner // heads, state=c['mamba_d_state'], groups=c.get('mamba_n_groups', 1),
                taps=c.get('mamba_d_conv', 4), activation=c['hidden_act'], eps=c['rms_norm_eps'], limit=read_limit(c),
                bias=c.get('mamba_proj_bias', False), conv_bias=c.get('mamba_conv_bias', True))


def plain_attention(c):
    heads, hidden = c['num_attention_heads'], c['hidden_size']
    head_dim = c.get('head_dim') or hidden // heads
    return dict(heads=heads, kv_heads=c['num_key_value_heads'] or heads, head_dim=head_dim, hidden=hidden,
                scale=head_dim**-0.5, bias=c.get('attention_bias', False))


def bamba(w, c, ids):
    eps, activation = c['rms_norm_eps'], ACTIVATIONS[c['hidden_act']]
    attends = plain_attention(c)
    rope = frequencies(c, attends['head_dim'], 0.5)
    x = embed(w, c, 'model.embed_tokens', ids)
    for i in range(c['num_hidden_layers']):
        name = f'model.layers.{i}'
        normed = w.norm(name + '.input_layernorm', x, eps)
        if i in c['attn_layer_indices']:
            x = x + attention(w, name + '.self_attn', normed, **attends, rope=rope)
        else:
            x = x + mixer(w, name + '.mamba', normed, **prefixed_mixer(c))
        normed = w.norm(name + '.pre_ff_layernorm', x, eps)
        x = x + gated_mlp(w, name + '.feed_forward', normed, c['intermediate_size'], activation, c['mlp_bias'])
    return head(w, c, 'model.embed_tokens', w.norm('model.final_layernorm', x, eps))


def granite_experts(w, name, c, x, activation):
    count, size = c['num_local_experts'], c['intermediate_size']
    logits = w.linear(name + '.router.layer', x, count)
    up = w(name + '.input_linear.weight', count, 2 * size, x.shape[1])
    down = w(name + '.output_linear.weight', count, x.shape[1], size)
    y = np.zeros_like(x)
    for t, row in enumerate(logits):
        best = np.argsort(-row)[:c['num_experts_per_tok']]
        gates = np.exp(row[best] - row[best].max())
        for e, g in zip(best, gates / gates.sum()):
            a, b = np.split(up[e] @ x[t], 2)
            y[t] += g * (down[e] @ (activation(a) * b))
    return y


def granitemoehybrid(w, c, ids):
    eps, activation, residual = c['rms_norm_eps'], ACTIVATIONS[c['hidden_act']], c.get('residual_multiplier', 1.0)
    attends = {**plain_attention(c), 'scale': c.get('attention_multiplier', 1.0)}
    rope = frequencies(c, attends['head_dim']) if c.get('position_embedding_type') == 'rope' else None
    x = embed(w, c, 'model.embed_tokens', ids) * c.get('embedding_multiplier', 1.0)
    for i, kind in enumerate(c.get('layer_types') or c['layers_block_type']):
        name = f'model.layers.{i}'
        normed = w.norm(name + '.input_layernorm', x, eps)
        if kind in ('attention', 'full_attention'):
            x = x + residual * attention(w, name + '.self_attn', normed, **attends, rope=rope)
        else:
            x = x + residual * mixer(w, name + '.mamba', normed, **prefixed_mixer(c))
        normed = w.norm(name + '.post_attention_layernorm', x, eps)
        a, b = np.split(w.linear(name + '.shared_mlp.input_linear', normed, 2 * c['shared_intermediate_size']), 2, axis=1)
        y = w.linear(name + '.shared_mlp.output_linear', activation(a) * b, c['hidden_size'])
        if c['num_local_experts'] > 0:
            y = y + granite_experts(w, name + '.block_sparse_moe', c, normed, activation)
        x = x + residual * y
    return head(w, c, 'model.embed_tokens', w.norm('model.norm', x, eps)) / c.get('logits_scaling', 1.0)


def falcon_h1(w, c, ids):
    eps, activation, attends = c['rms_norm_eps'], ACTIVATIONS[c['hidden_act']], plain_attention(c)
    rope = frequencies(c, attends['head_dim'])
    norm = ('before gate' if c['mamba_norm_before_gate'] else 'after gate') if c['mamba_rms_norm'] else 'none'
    mixes = dict(**prefixed_mixer(c), out_bias=c['projectors_bias'], norm=norm, norm_groups=c.get('mamba_n_groups', 1),
                 factors=c['ssm_multipliers'])
    gate_factor, down_factor = c['mlp_multipliers']
    x = embed(w, c, 'model.embed_tokens', ids) * c['embedding_multiplier']
    for i in range(c['num_hidden_layers']):
        name = f'model.layers.{i}'
        normed = w.norm(name + '.input_layernorm', x, eps)
        mixed = mixer(w, name + '.mamba', normed * c['ssm_in_multiplier'], **mixes)
        attended = attention(w, name + '.self_attn', normed * c['attention_in_multiplier'], **attends, rope=rope,
                             key_factor=c['key_multiplier'])
        x = x + mixed * c['ssm_out_multiplier'] + attended * c['attention_out_multiplier']
        normed = w.norm(name + '.pre_ff_layernorm', x, eps)
        x = x + down_factor * gated_mlp(w, name + '.feed_forward', normed, c['intermediate_size'], activation,
                                        c['mlp_bias'], gate_factor)
    return head(w, c, 'model.embed_tokens', w.norm('model.final_layernorm', x, eps)) * c['lm_head_multiplier']


def nemotron_experts(w, name, c, x, mlp):
    count, groups, latent = c['n_routed_experts'], c['n_group'], c.get('moe_latent_size')
    scores = 1 / (1 + np.exp(-w.linear(name + '.gate', x, count)))
    choices = scores + w(name + '.gate.e_score_correction_bias', count, scale=0.3)
    seen = w.linear(name + '.fc1_latent_proj', x, latent, c['mlp_bias']) if latent else x
    y = np.zeros_like(seen)
    for t, row in enumerate(choices):
        worth = np.sort(row.reshape(groups, -1))[:, -2:].sum(1)
        allowed = np.repeat(worth >= np.sort(worth)[-c['topk_group']], count // groups)
        best = np.argsort(-np.where(allowed, row, -np.inf))[:c['num_experts_per_tok']]
        gates = scores[t][best]
        if c['norm_topk_prob']:
            gates = gates / gates.sum()
        for e, g in zip(best, gates * c['routed_scaling_factor']):
            y[t] += g * mlp(f'{name}.experts.{e}', seen[t:t + 1], c['moe_intermediate_size'], False)[0]
    # Every expert has weights, whether a token visits it or not.
    for e in range(count):
        mlp(f'{name}.experts.{e}', seen[:1], c['moe_intermediate_size'], False)
    routed = w.linear(name + '.fc2_latent_proj', y, x.shape[1], c['mlp_bias']) if latent else y
    return routed + mlp(name + '.shared_experts', x, c['moe_shared_expert_intermediate_size'], c['mlp_bias'])


NEMOTRON_LETTERS = {'M': 'mamba', '*': 'attention', '-': 'mlp', 'E': 'moe'}


def nemotron_h(w, c, ids):
    return head(w, c, 'backbone.embeddings', nemotron_hidden(w, c, ids))


def nemotron_hidden(w, c, ids):
    model, blocks = c, c.get('block_configs')
    eps = c['layer_norm_epsilon']
    if blocks:
        kinds = [block['block_type'] for block in blocks]
        if any(block.get('sliding_window') for block in blocks):
            model = {**model, 'sliding_window': None}
    else:
        kinds = c.get('layers_block_type') or [NEMOTRON_LETTERS[letter] for letter in c['hybrid_override_pattern']]
    x = embed(w, c, 'backbone.embeddings', ids)
    for i, kind in enumerate(kinds):
        x = nemotron_layer(w, f'backbone.layers.{i}', {**model, **blocks[i]} if blocks else model, kind, x)
    return w.norm('backbone.norm_f', x, eps)


def nemotron_layer(w, layer, c, kind, x):
    eps, activation, hidden = c['layer_norm_epsilon'], ACTIVATIONS[c['mlp_hidden_act']], c['hidden_size']

    def mlp(name, x, size, bias):
        up = activation(w.linear(name + '.up_proj', x, size, bias))
        return w.linear(name + '.down_proj', up, x.shape[1], bias)

    name, normed = layer + '.mixer', w.norm(layer + '.norm', x, eps)
    if kind in ('mamba', 'linear_attention'):
        y = mixer(w, name, normed, heads=c['mamba_num_heads'], head_dim=c['mamba_head_dim'],
                  state=c['ssm_state_size'], groups=c['n_groups'], taps=c['conv_kernel'], activation='silu', eps=eps,
                  limit=read_limit(c), bias=c['use_bias'], conv_bias=c['use_conv_bias'], norm_groups=c['n_groups'])
    elif kind in ('attention', 'full_attention'):
        y = attention(w, name, normed, heads=c['num_attention_heads'], kv_heads=c['num_key_value_heads'],
                      head_dim=c['head_dim'], hidden=hidden, scale=c['head_dim']**-0.5, window=c.get('sliding_window'))
    elif kind == 'moe':
        y = nemotron_experts(w, name, c, normed, mlp)
    else:
        y = mlp(name, normed, c['intermediate_size'], c['mlp_bias'])
    return x + y


def nemotron_guesses(w, c, ids, count):
    """What the layers for multi-token prediction say after each text of two tokens or more: (texts, count, VOCAB). From the
    second guess on they see their own output in place of the model's."""
    eps, kinds = c['layer_norm_epsilon'], [NEMOTRON_LETTERS[letter] for letter in c['mtp_hybrid_override_pattern']]
    hidden, found = nemotron_hidden(w, c, ids), []
    for length in range(2, len(ids) + 1):
        tokens, before, logits = list(ids[1:length]), hidden[:length - 1], []
        for _ in range(count):
            normed = [w.norm('mtp.layers.0.enorm', embed(w, c, 'backbone.embeddings', tokens), eps),
                      w.norm('mtp.layers.0.hnorm', before, eps)]
            x = w.linear('mtp.layers.0.eh_proj', np.concatenate(normed, axis=1), c['hidden_size'])
            for i, kind in enumerate(kinds):
                x = nemotron_layer(w, f'mtp.layers.{i}', c, kind, x)
            x = w.norm(f'mtp.layers.{len(kinds) - 1}.final_layernorm', x, eps)
            logits.append(head(w, c, 'backbone.embeddings', x)[-1])
            tokens.append(int(logits[-1].argmax()))
            before = np.concatenate([before, x[-1:]])
        found.append(logits)
    return np.array(found)


def nemotron_vl(w, c, ids):
    """The language model of one that sees, whose other weights the text does not need."""
    own = Weights(0)
    own.random = w.random
    own.update({name.removeprefix('language_model.'): values for name, values in w.items()})
    logits = nemotron_h(own, c['llm_config'], ids)
    w('vision_model.radio_model.patch_embedding.weight', 4, 12)
    w('mlp1.1.weight', c['llm_config']['hidden_size'], 8)
    w.update({'language_model.' + name: values for name, values in own.items() if not name.startswith(('vision', 'mlp1'))})
    return logits


def first_zamba2(c):
    """The config under today's names."""
    if 'expansion_factor' not in c:
        return c
    inner = c['expansion_factor'] * c['hidden_size']
    kinds = {'m': 'mamba', 'g': 'hybrid'}
    return {**c, 'layers_block_type': [kinds[kind] for kind in c['layers_block_type']], 'mamba_expand': c['expansion_factor'],
            'n_mamba_heads': inner // c['mamba_headdim'], 'mamba_d_state': c['state_size'],
            'mamba_d_conv': c['conv_dimension'], 'intermediate_size': c['ffn_hidden_size'], 'adapter_rank': c['lora_rank'],
            'use_shared_attention_adapter': c['use_shared_attention_lora']}


def zamba2(w, c, ids):
    c = first_zamba2(c)
    hidden, heads, eps, bias = c['hidden_size'], c['num_attention_heads'], c['rms_norm_eps'], c['add_bias_linear']
    head_dim, inner = 2 * hidden // heads, c.get('mamba_expand', 2) * hidden
    mixes = dict(heads=c['n_mamba_heads'], head_dim=inner // c['n_mamba_heads'], state=c['mamba_d_state'],
                 groups=c['mamba_ngroups'], taps=c['mamba_d_conv'], activation='silu', eps=1e-5, limit=read_limit(c),
                 bias=bias, conv_bias=True, norm_groups=c['mamba_ngroups'])
    rope = frequencies(c, head_dim) if c['use_mem_rope'] else None
    hybrids = [i for i, kind in enumerate(c['layers_block_type']) if kind == 'hybrid']

    def adapter(name, x, size):
        return w.linear(name + '.1', w.linear(name + '.0', x, c['adapter_rank']), size)

    def shared(use, x):
        # All uses of a block have the weights of its first.
        name = f'model.layers.{hybrids[use % c["num_mem_blocks"]]}.shared_transformer'
        normed = w.norm(name + '.input_layernorm', np.concatenate([x, embedded], axis=1), eps)
        deltas = None
        if c['use_shared_attention_adapter']:
            lists = [f'{name}.self_attn.linear_{letter}_adapter_list.{use}' for letter in 'qkv']
            deltas = [adapter(each, normed, 2 * hidden) for each in lists]
        y = attention(w, name + '.self_attn', normed, heads=heads, kv_heads=heads, head_dim=head_dim, hidden=hidden,
                      scale=(head_dim / 2) ** -0.5, rope=rope, deltas=deltas)
        y, size = w.norm(name + '.pre_ff_layernorm', y, eps), c['intermediate_size']
        gate_up = w.linear(name + '.feed_forward.gate_up_proj', y, 2 * size, bias)
        gate_up = gate_up + adapter(f'{name}.feed_forward.gate_up_proj_adapter_list.{use}', y, 2 * size)
        gate, up = np.split(gate_up, 2, axis=1)
        return w.linear(name + '.feed_forward.down_proj', ACTIVATIONS[c['hidden_act']](gate) * up, hidden, bias)

    x = embedded = embed(w, c, 'model.embed_tokens', ids)
    for i, kind in enumerate(c['layers_block_type']):
        name, added = f'model.layers.{i}', 0
        if kind == 'hybrid':
            added = w.linear(name + '.linear', shared(hybrids.index(i), x), hidden)
            name = name + '.mamba_decoder'
        x = x + mixer(w, name + '.mamba', w.norm(name + '.input_layernorm', x + added, eps), **mixes)
    return head(w, c, 'model.embed_tokens', w.norm('model.final_layernorm', x, eps), tied=True)


def mamba2(w, c, ids):
    eps = c['layer_norm_epsilon']
    x = embed(w, c, 'backbone.embeddings', ids)
    for i in range(c['num_hidden_layers']):
        name = f'backbone.layers.{i}'
        # transformers normalises whole rows here. vLLM and the original have groups, and so have the published weights.
        x = x + mixer(w, name + '.mixer', w.norm(name + '.norm', x, eps), heads=c['num_heads'], head_dim=c['head_dim'],
                      state=c['state_size'], groups=c['n_groups'], taps=c['conv_kernel'], activation=c['hidden_act'],
                      eps=eps, limit=read_limit(c), bias=c['use_bias'], conv_bias=c['use_conv_bias'],
                      norm_groups=c['n_groups'])
    return head(w, c, 'backbone.embeddings', w.norm('backbone.norm_f', x, eps))


def plamo2_mixer(w, name, c, u):
    T, heads, size, state = len(u), c['mamba_num_heads'], c['hidden_size_per_head'], c['mamba_d_state']
    inner, taps, rank = heads * size, c['mamba_d_conv'], max(64, c['hidden_size'] // 16)
    gate, x = np.split(w.linear(name + '.in_proj', u, 2 * inner).reshape(T, heads, 2 * size), 2, axis=-1)
    past = np.concatenate([np.zeros((taps - 1, inner)), x.reshape(T, inner)])
    kernel = w(name + '.conv1d.weight', inner, 1, taps)
    x = silu(sum(past[k:k + T] * kernel[:, 0, k] for k in range(taps)))
    selected = np.split(w.linear(name + '.bcdt_proj', x, 2 * state + rank), [state, 2 * state], axis=1)
    B, C, dt = (part / np.sqrt((part**2).mean(-1, keepdims=True) + c['rms_norm_eps'])
                * w(f'{name}.{letter}_norm_weight', part.shape[1], scale=0.3, around=1.0)
                for part, letter in zip(selected, ('B', 'C', 'dt')))
    dt = w.linear(name + '.dt_proj', dt, heads) + w(name + '.dt_bias', heads, scale=1.0, around=-2.0)
    dt = np.log1p(np.exp(dt))
    A = -np.exp(w(name + '.A_log', heads, scale=0.7, around=0.5))
    D = w(name + '.D', heads, scale=1.0)
    x = x.reshape(T, heads, size)
    h, y = np.zeros((heads, size, state)), np.zeros_like(x)
    for t in range(T):
        h = h * np.exp(dt[t] * A)[:, None, None] + (dt[t][:, None] * x[t])[..., None] * B[t]
        y[t] = h @ C[t] + D[:, None] * x[t]
    return w.linear(name + '.out_proj', (y * silu(gate)).reshape(T, inner), u.shape[1])


def plamo2_attention(w, name, c, x, i):
    T, size = len(x), c['hidden_size_per_head']
    heads, kv_heads = c['num_attention_heads'], c['num_key_value_heads']
    parts = w.linear(name + '.qkv_proj', x, (heads + 2 * kv_heads) * size).reshape(T, -1, size)
    q, k, v = np.split(parts, [heads, heads + kv_heads], axis=1)

    def normed(part, letter):
        part = part / np.sqrt((part**2).mean(-1, keepdims=True) + 1e-6)
        return rotate(part * w(f'{name}.{letter}_weight', part.shape[1], size, scale=0.3, around=1.0), frequencies(c, size))

    q, k = normed(q, 'q'), normed(k, 'k')
    k, v = (np.repeat(part, heads // kv_heads, axis=1) for part in (k, v))
    # The code of PLaMo's repositories looks back over so many keys, and sees the token's own besides.
    window = None if i in (c['full_attention_idx'] or []) else c['attention_window_size'] + 1
    scores = np.where(in_sight(T, window), np.einsum('thd,shd->hts', q, k) * size**-0.5, -np.inf)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    y = np.einsum('hts,shd->thd', scores / scores.sum(-1, keepdims=True), v)
    return w.linear(name + '.o_proj', y.reshape(T, -1), x.shape[1])


def plamo2(w, c, ids):
    eps, middle = c['rms_norm_eps'], c['mamba_step'] // 2

    def norm(name, x, offset):
        weight = w(name + '.weight', x.shape[1], scale=0.3) + offset
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight

    x = embed(w, c, 'model.embed_tokens', ids)
    for i in range(c['num_hidden_layers']):
        name = f'model.layers.layers.{i}'
        normed = norm(name + '.pre_mixer_norm', x, 1)
        if i % c['mamba_step'] == middle:
            y = plamo2_attention(w, name + '.mixer', c, normed, i)
        else:
            y = plamo2_mixer(w, name + '.mixer', c, normed)
        x = x + norm(name + '.post_mixer_norm', y, 1 / 5)
        y = w.linear(name + '.mlp.gate_up_proj', norm(name + '.pre_mlp_norm', x, 1), 2 * c['intermediate_size'])
        gate, up = np.split(y, 2, axis=1)
        y = w.linear(name + '.mlp.down_proj', silu(gate) * up, x.shape[1])
        x = x + norm(name + '.post_mlp_norm', y, 5**-1.5)
    return head(w, c, 'model.embed_tokens', norm('model.norm', x, 1), tied=True)


FORWARD = {f.__name__: f for f in (bamba, granitemoehybrid, falcon_h1, nemotron_h, zamba2, mamba2)}
OTHER_TYPES = {'plamo2': plamo2, 'nemotron_h_puzzle': nemotron_h, 'NemotronH_Nano_VL_V2': nemotron_vl}

# A variant's place is the seed of its weights.
VARIANTS = ['bamba-biases', 'falcon-norm', 'falcon-norm-before-gate', 'granite-dense-rope', 'granite-experts',
            'mamba2-eight-groups', 'nemotron-eight-groups', 'nemotron-experts', 'zamba2-two-blocks', 'nemotron-puzzle',
            'nemotron-vl', 'zamba2-first-layout', 'plamo2', 'nemotron-windows', 'plamo2-windows', 'nemotron-mtp']

# Tokens that layers for multi-token prediction guess after each text.
GUESSES = 3


def write_safetensors(path, tensors):
    header, end = {}, 0
    for name, values in tensors.items():
        header[name] = {'dtype': 'F32', 'shape': list(values.shape), 'data_offsets': [end, end + values.nbytes]}
        end += values.nbytes
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    path.write_bytes(struct.pack('<Q', len(text)) + text + b''.join(values.tobytes() for values in tensors.values()))


def read_safetensors(path):
    data = path.read_bytes()
    begin = 8 + struct.unpack('<Q', data[:8])[0]
    header = json.loads(data[8:begin])
    return {name: np.frombuffer(data[begin + at[0]:begin + at[1]], np.float32).reshape(info['shape'])
            for name, info in header.items() if name != '__metadata__' for at in [info['data_offsets']]}


def write_variant(name, seed):
    folder, config = HERE / name, json.loads((HERE / name / 'config.json').read_text())
    forward, weights = {**FORWARD, **OTHER_TYPES}[config['model_type']], Weights(seed)
    ids = [int(i) for i in weights.random.integers(0, VOCAB, 23)]
    logits = forward(weights, config, ids)
    if 'llm_config' not in config and not config.get('tie_word_embeddings', config['model_type'] == 'zamba2'):
        assert 'lm_head.weight' in weights
    greedy = list(ids)
    for _ in range(6):
        greedy.append(int(forward(weights, config, greedy)[-1].argmax()))
    expected = {'logits': logits.astype(np.float32)}
    if config.get('num_nextn_predict_layers'):
        expected['guess_logits'] = nemotron_guesses(weights, config, ids, GUESSES).astype(np.float32)
    write_safetensors(folder / 'model.safetensors', weights)
    write_safetensors(folder / 'expected.safetensors', expected)
    (folder / 'expected.json').write_text(json.dumps({'input_ids': ids, 'greedy': greedy[len(ids):]}) + '\n')


def check(name):
    folder, weights = HERE.parent / name, Weights(0)
    weights.update(read_safetensors(folder / 'model.safetensors'))
    count = len(weights)
    ids = json.loads((folder / 'expected.json').read_text())['input_ids']
    logits = FORWARD[name](weights, json.loads((folder / 'config.json').read_text()), ids)
    assert len(weights) == count, 'a weight was drawn that the model does not have'
    print(name, abs(logits - read_safetensors(folder / 'expected.safetensors')['logits']).max())


if __name__ == '__main__':
    if sys.argv[1:] == ['check']:
        for each in FORWARD:
            check(each)
    else:
        for seed, name in enumerate(VARIANTS):
            write_variant(name, seed)
