"""Held-out bits per byte: for each document, minus the log2-likelihood of all its tokens after
one leading id 0, over its UTF-8 bytes."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

from model import Mamba2
from tokenizer import read_documents

WINDOW = 8192
BUCKETS = (1024, 2048, 4096, 1 << 30)


def load_heldout(folder: Path, tok: Tokenizer) -> list[tuple[str, list[int], int]]:
    """(package, ids with the leading 0, bytes) of each held-out document."""
    out = []
    for document in read_documents(folder, "heldout"):
        name, text = document.split("\n", 1)
        package = name[: name.index("@", 1)]
        ids = tok.encode(text, add_special_tokens=False).ids
        out.append((package, [0, *ids], len(text.encode())))
    return out


@torch.no_grad()
def token_bits(model: Mamba2, ids: list[int], device: torch.device) -> torch.Tensor:
    parts = []
    for i in range(0, len(ids) - 1, WINDOW):
        window = torch.tensor([ids[i : i + WINDOW + 1]], device=device)
        logits = model(window[:, :-1])[0]
        parts.append(F.cross_entropy(logits, window[0, 1:], reduction="none") / math.log(2))
    return torch.cat(parts)


def evaluate(model: Mamba2, documents: list[tuple[str, list[int], int]], device: torch.device) -> dict:
    """Bits per byte over all documents and per package, in float32 whatever the weights hold."""
    packages: dict[str, list[float]] = {}
    buckets = [[0.0, 0] for _ in BUCKETS]
    for package, ids, size in documents:
        bits = token_bits(model, ids, device).double()
        entry = packages.setdefault(package, [0.0, 0])
        entry[0] += bits.sum().item()
        entry[1] += size
        start = 0
        for bucket, end in zip(buckets, BUCKETS):
            part = bits[start:end]
            bucket[0] += part.sum().item()
            bucket[1] += part.numel()
            start = end
    per = {name: bits / size for name, (bits, size) in packages.items()}
    return {
        "bits_per_byte": sum(b for b, _ in packages.values()) / sum(s for _, s in packages.values()),
        "packages": dict(sorted(per.items(), key=lambda item: item[1])),
        "minimum": min(per.values()),
        "median": statistics.median(per.values()),
        "maximum": max(per.values()),
        "bits_per_token_up_to_position": {
            str(end) if end < 1 << 30 else "rest": b / n for (b, n), end in zip(buckets, BUCKETS) if n
        },
    }


def report(label: str, result: dict) -> None:
    print(
        f"{label}: {result['bits_per_byte']:.4f} bits per byte; per package "
        f"minimum {result['minimum']:.4f}, median {result['median']:.4f}, maximum {result['maximum']:.4f}"
    )
    positions = ", ".join(f"{k}: {v:.3f}" for k, v in result["bits_per_token_up_to_position"].items())
    print(f"  bits per token up to position {positions}", flush=True)
