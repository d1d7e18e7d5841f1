"""Trains the byte-level BPE and tokenises the training documents.

    python tokenizer.py DATA WORK [--vocab 4096] [--sample-mb 60]

reads DATA/train.txt (or .xz) and writes WORK/tokenizer/{tokenizer,tokenizer_config}.json and
WORK/train.npy: uint16 ids, each document preceded by id 0.
"""

from __future__ import annotations

import argparse
import json
import lzma
import time
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

END = "<|endoftext|>"


def read_documents(folder: Path, name: str) -> list[str]:
    plain = folder / f"{name}.txt"
    raw = plain.read_bytes() if plain.exists() else lzma.decompress((folder / f"{name}.txt.xz").read_bytes())
    return [part.decode() for part in raw.split(b"\0") if part]


def train_tokenizer(documents: list[str], vocab: int, sample_bytes: int) -> Tokenizer:
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    sample, total = [], 0
    for text in documents:
        if total >= sample_bytes:
            break
        sample.append(text)
        total += len(text)
    tok.train_from_iterator(sample, trainer)
    assert tok.token_to_id(END) == 0 and tok.get_vocab_size() == vocab
    tok.post_processor = processors.TemplateProcessing(
        single=f"{END} $A", pair=f"{END} $A {END} $B", special_tokens=[(END, 0)]
    )
    return tok


def save(tok: Tokenizer, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tok.save(str(folder / "tokenizer.json"))
    config = {
        "add_bos_token": True,
        "bos_token": END,
        "clean_up_tokenization_spaces": False,
        "eos_token": END,
        "model_max_length": 1000000000000000019884624838656,
        "pad_token": END,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def encode_all(tok: Tokenizer, documents: list[str], batch: int = 2048) -> np.ndarray:
    # A document that happens to spell the special token would otherwise contain id 0.
    encode = getattr(tok, "encode_batch_fast", tok.encode_batch)
    parts = []
    for i in range(0, len(documents), batch):
        texts = [text.replace(END, "") for text in documents[i : i + batch]]
        parts.extend(np.asarray(e.ids, dtype=np.uint16) for e in encode(texts))
    return np.concatenate(parts)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--sample-mb", type=float, default=60)
    args = parser.parse_args()
    start = time.time()

    def note(text: str) -> None:
        print(f"[{time.time() - start:6.1f} s] {text}", flush=True)

    documents = read_documents(args.data, "train")
    size = sum(len(text.encode()) for text in documents)
    note(f"{len(documents)} documents, {size / 1e6:.1f} MB")
    tok = train_tokenizer(documents, args.vocab, int(args.sample_mb * 1e6))
    save(tok, args.work / "tokenizer")
    note("tokenizer trained")
    ids = encode_all(tok, documents)
    np.save(args.work / "train.npy", ids)
    note(f"{len(ids) / 1e6:.2f} M tokens, {size / len(ids):.3f} bytes per token")


if __name__ == "__main__":
    main()
