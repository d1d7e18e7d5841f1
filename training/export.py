"""Writes the model as a Hugging Face folder and checks it against transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from model import Config, Mamba2

PROMPTS = (
    "export interface User {\n",
    "export declare class ",
    "import type { Readable } from 'node:stream';\n",
)
GREEDY = 60


def hf_config(cfg: Config, version: str) -> dict:
    return {
        "architectures": ["Mamba2ForCausalLM"],
        "bos_token_id": 0,
        "chunk_size": 256,
        "conv_kernel": cfg.conv_kernel,
        "dtype": "bfloat16",
        "eos_token_id": 0,
        "expand": cfg.expand,
        "head_dim": cfg.head_dim,
        "hidden_act": "silu",
        "hidden_size": cfg.hidden_size,
        "initializer_range": cfg.initializer_range,
        "layer_norm_epsilon": cfg.layer_norm_epsilon,
        "model_type": "mamba2",
        "n_groups": cfg.n_groups,
        "num_heads": cfg.num_heads,
        "num_hidden_layers": cfg.num_hidden_layers,
        "pad_token_id": 0,
        "rescale_prenorm_residual": False,
        "residual_in_fp32": True,
        "rms_norm": True,
        "state_size": cfg.state_size,
        "tie_word_embeddings": True,
        "time_step_floor": 0.0001,
        "time_step_limit": [0.0, {"__float__": "Infinity"}],
        "time_step_max": 0.1,
        "time_step_min": 0.001,
        "time_step_rank": max(1, -(-cfg.hidden_size // 16)),
        "transformers_version": version,
        "use_bias": False,
        "use_cache": True,
        "use_conv_bias": True,
        "vocab_size": cfg.vocab_size,
    }


def generation_config(version: str) -> dict:
    return {
        "_from_model_config": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "output_attentions": False,
        "output_hidden_states": False,
        "pad_token_id": 0,
        "transformers_version": version,
        "use_cache": True,
    }


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


@torch.no_grad()
def greedy(model: Mamba2, ids: list[int], count: int) -> list[int]:
    ids = list(ids)
    for _ in range(count):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[-count:]


@torch.no_grad()
def reference_cases(model: Mamba2, folder: Path, tok) -> list[dict]:
    """Runs the prompts through transformers; the greedy tokens are checked in one pass each."""
    from transformers import Mamba2ForCausalLM

    hf = Mamba2ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    cases = []
    for prompt in PROMPTS:
        ids = [0, *tok.encode(prompt, add_special_tokens=False).ids]
        new = greedy(model, ids, GREEDY)
        ours = model(torch.tensor([ids + new]))[0]
        theirs = hf(torch.tensor([ids + new]), use_cache=False).logits[0].float()
        print(f"  {prompt!r}: our logits differ from transformers' by at most {(ours - theirs).abs().max():.2e}")
        if theirs[len(ids) - 1 : -1].argmax(-1).tolist() != new:
            print("  WARNING: transformers would have chosen other greedy tokens")
        last = hf(torch.tensor([ids]), use_cache=False).logits[0, -1].float()
        rounded = [float(f"{v:.6g}") for v in last.tolist()]
        cases.append({"prompt": prompt, "input_ids": ids, "greedy": new, "last_logits": rounded})
        print("    " + repr(tok.decode(new)))
    return cases


def export(model: Mamba2, tokenizer: Path, folder: Path, name: str) -> None:
    """`model` holds float32 weights that are already rounded to bfloat16, on the CPU."""
    import transformers
    from tokenizers import Tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    version = transformers.__version__
    tensors = {k: v.to(torch.bfloat16).contiguous() for k, v in model.state_dict().items()}
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    write_json(folder / "config.json", hf_config(model.cfg, version))
    write_json(folder / "generation_config.json", generation_config(version))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tokenizer / file, folder / file)
    size = (folder / "model.safetensors").stat().st_size
    print(f"model.safetensors: {size} bytes")
    if size >= 16_000_000:
        print("WARNING: larger than 16,000,000 bytes")
    cases = reference_cases(model.eval(), folder, Tokenizer.from_file(str(folder / "tokenizer.json")))
    made_with = f"transformers {version}, float32 on CPU from the bfloat16 checkpoint"
    (folder / "expected.json").write_text(json.dumps({"model": name, "made_with": made_with, "cases": cases}) + "\n")
