"""Mamba-2 in plain PyTorch, with Hugging Face's architecture and parameter names.

`Mamba2.forward` is the chunked form (batched matrix products, for training and scoring);
`ssd_recurrence` is the definition, step by step, to check it against.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Added to the log-decay at the first token of a document: exp(-80) leaves nothing of the state.
RESET = -80.0


@dataclass
class Config:
    vocab_size: int = 4096
    hidden_size: int = 256
    num_hidden_layers: int = 14
    head_dim: int = 64
    state_size: int = 128
    n_groups: int = 1
    conv_kernel: int = 4
    expand: int = 2
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.05
    chunk: int = 128

    @property
    def inner(self) -> int:
        return self.expand * self.hidden_size

    @property
    def num_heads(self) -> int:
        return self.inner // self.head_dim

    @property
    def conv_dim(self) -> int:
        return self.inner + 2 * self.n_groups * self.state_size


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def ssd_recurrence(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """y_t = C_t h_t with h_t = exp(a_t) h_{t-1} + dt_t B_t x_t, one token at a time.

    x (batch, length, heads, head_dim); dt, a (batch, length, heads);
    b, c (batch, length, groups, state).
    """
    heads, groups = x.shape[2], b.shape[2]
    b = b.repeat_interleave(heads // groups, 2)
    c = c.repeat_interleave(heads // groups, 2)
    h = x.new_zeros(x.shape[0], heads, x.shape[3], b.shape[3])
    out = []
    for t in range(x.shape[1]):
        update = (dt[:, t, :, None] * x[:, t])[..., None] * b[:, t, :, None, :]
        h = a[:, t].exp()[..., None, None] * h + update
        out.append((h * c[:, t, :, None, :]).sum(-1))
    return torch.stack(out, 1)


def ssd_chunked(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, chunk: int) -> Tensor:
    """The same in chunks. dt and a are float32; x, b, c set the type of the matrix products.

    The length must be a multiple of `chunk`.
    """
    batch, length, heads, p = x.shape
    groups, n = b.shape[2:]
    per = heads // groups
    nc, q, dtype = length // chunk, chunk, x.dtype
    x = x.view(batch, nc, q, heads, p)
    dt = dt.view(batch, nc, q, heads)
    cs = a.view(batch, nc, q, heads).cumsum(2)
    b = b.view(batch, nc, q, groups, n).transpose(2, 3)
    c = c.view(batch, nc, q, groups, n).transpose(2, 3)

    # Within a chunk: (C B^T) masked by the decay from j to i, applied to dt x.
    xdt = x * dt[..., None]
    scores = c @ b.transpose(3, 4)  # (batch, nc, groups, q, q)
    ch = cs.transpose(2, 3)  # (batch, nc, heads, q)
    causal = torch.ones(q, q, dtype=torch.bool, device=x.device).tril()
    decay = (ch[..., :, None] - ch[..., None, :]).clamp(max=0).exp()
    decay = decay.masked_fill(~causal, 0).view(batch, nc, groups, per, q, q)
    mixed = (scores[:, :, :, None] * decay).to(dtype).view(batch, nc, heads, q, q)
    y = (mixed @ xdt.to(dtype).transpose(2, 3)).transpose(2, 3)

    # What each chunk adds to the state, by (head, head_dim) rows and state columns.
    last = cs[:, :, -1]
    weighted = (xdt * (last[:, :, None] - cs).clamp(max=0).exp()[..., None]).to(dtype)
    rows = weighted.view(batch, nc, q, groups, per * p).permute(0, 1, 3, 4, 2)
    added = (rows @ b).view(batch, nc, heads, p, n)

    # The state at the start of each chunk.
    state = torch.zeros_like(added[:, 0], dtype=torch.float32)
    starts = [state]
    keep = last.clamp(max=0).exp()
    for i in range(nc - 1):
        state = keep[:, i, :, None, None] * state + added[:, i]
        starts.append(state)
    before = torch.stack([s.to(dtype) for s in starts], 1)

    # What that state adds to each token of the chunk.
    carried = c @ before.view(batch, nc, groups, per * p, n).transpose(3, 4)
    carried = carried.transpose(2, 3).reshape(batch, nc, q, heads, p)
    y = y + carried * cs.clamp(max=0).exp()[..., None]
    return y.reshape(batch, length, heads, p)


class Mixer(nn.Module):
    def __init__(self, cfg: Config):
        super().__init__()
        self.cfg = cfg
        heads = cfg.num_heads
        self.in_proj = nn.Linear(cfg.hidden_size, cfg.inner + cfg.conv_dim + heads, bias=False)
        self.conv1d = nn.Conv1d(
            cfg.conv_dim, cfg.conv_dim, cfg.conv_kernel, groups=cfg.conv_dim, padding=cfg.conv_kernel - 1
        )
        self.norm = RMSNorm(cfg.inner, cfg.layer_norm_epsilon)
        self.out_proj = nn.Linear(cfg.inner, cfg.hidden_size, bias=False)
        dt = torch.exp(torch.rand(heads) * (math.log(0.1) - math.log(0.001)) + math.log(0.001))
        dt = dt.clamp(min=1e-4)
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))
        self.A_log = nn.Parameter(torch.log(torch.arange(1, heads + 1).float()))
        self.D = nn.Parameter(torch.ones(heads))

    def forward(self, u: Tensor, reset: Tensor | None, dtype: torch.dtype) -> Tensor:
        cfg = self.cfg
        batch, length, _ = u.shape
        heads, gn = cfg.num_heads, cfg.n_groups * cfg.state_size
        projected = F.linear(u.to(dtype), self.in_proj.weight.to(dtype))
        z, xbc, dt = projected.split([cfg.inner, cfg.conv_dim, heads], -1)

        # The causal depthwise convolution as shifted multiply-adds, which fuse with the SiLU.
        padded = F.pad(xbc, (0, 0, cfg.conv_kernel - 1, 0))
        taps = self.conv1d.weight[:, 0]
        total = self.conv1d.bias + padded[:, :length].float() * taps[:, 0]
        for k in range(1, cfg.conv_kernel):
            total = total + padded[:, k : k + length].float() * taps[:, k]
        x, b, c = F.silu(total).to(dtype).split([cfg.inner, gn, gn], -1)

        dt = F.softplus(dt.float() + self.dt_bias)
        a = -dt * torch.exp(self.A_log)
        if reset is not None:
            a = a + reset[..., None]
        x = x.reshape(batch, length, heads, cfg.head_dim)
        b = b.reshape(batch, length, cfg.n_groups, cfg.state_size)
        c = c.reshape(batch, length, cfg.n_groups, cfg.state_size)
        y = ssd_chunked(x, dt, a, b, c, min(cfg.chunk, length))
        y = (y + x * self.D[:, None]).reshape(batch, length, cfg.inner)
        y = self.norm(y.float() * F.silu(z.float()))
        return F.linear(y.to(dtype), self.out_proj.weight.to(dtype))


class Block(nn.Module):
    def __init__(self, cfg: Config):
        super().__init__()
        self.norm = RMSNorm(cfg.hidden_size, cfg.layer_norm_epsilon)
        self.mixer = Mixer(cfg)

    def forward(self, h: Tensor, reset: Tensor | None, dtype: torch.dtype) -> Tensor:
        return h + self.mixer(self.norm(h), reset, dtype).float()


class Backbone(nn.Module):
    def __init__(self, cfg: Config):
        super().__init__()
        self.embeddings = nn.Embedding(cfg.vocab_size, cfg.hidden_size)
        self.layers = nn.ModuleList(Block(cfg) for _ in range(cfg.num_hidden_layers))
        self.norm_f = RMSNorm(cfg.hidden_size, cfg.layer_norm_epsilon)


def head_logits(h: Tensor, norm: RMSNorm, weight: Tensor, dtype: torch.dtype) -> Tensor:
    return F.linear(norm(h).to(dtype), weight.to(dtype))


def head_loss(h: Tensor, norm: RMSNorm, weight: Tensor, targets: Tensor, dtype: torch.dtype) -> Tensor:
    logits = head_logits(h, norm, weight, dtype).float()
    return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))


class Mamba2(nn.Module):
    def __init__(self, cfg: Config):
        super().__init__()
        self.cfg = cfg
        self.backbone = Backbone(cfg)
        nn.init.normal_(self.backbone.embeddings.weight, std=cfg.initializer_range)
        with torch.no_grad():
            for layer in self.backbone.layers:
                layer.mixer.out_proj.weight /= math.sqrt(cfg.num_hidden_layers)
        self.loss_fn = head_loss

    def compile_parts(self) -> None:
        """Compiles one block (all layers share the code) and the loss: quicker than the whole."""
        import torch._dynamo

        torch._dynamo.config.cache_size_limit = 64
        for layer in self.backbone.layers:
            layer.compile(dynamic=False)
        self.loss_fn = torch.compile(head_loss, dynamic=False)

    def hidden(self, ids: Tensor, dtype: torch.dtype, resets: bool) -> Tensor:
        reset = (ids == 0).float() * RESET if resets else None
        h = F.embedding(ids, self.backbone.embeddings.weight).float()
        for layer in self.backbone.layers:
            h = layer(h, reset, dtype)
        return h

    def loss(self, ids: Tensor, targets: Tensor, dtype: torch.dtype, resets: bool = True) -> Tensor:
        bb = self.backbone
        return self.loss_fn(self.hidden(ids, dtype, resets), bb.norm_f, bb.embeddings.weight, targets, dtype)

    def forward(self, ids: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Logits at every position of one or more documents, each from an empty state."""
        length = ids.shape[1]
        padded = F.pad(ids, (0, -length % self.cfg.chunk))
        h = self.hidden(padded, dtype, resets=False)[:, :length]
        return head_logits(h, self.backbone.norm_f, self.backbone.embeddings.weight, dtype)
