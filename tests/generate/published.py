"""Folders as they are published: a random model of the reference beside a tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import tokenizers
import torch
import transformers
from tokenizers import AddedToken, decoders, processors

from regard.inputs.tokenizer import Tokenizer

CODES = ("eng_Latn", "zho_Hans", "zho_Hant", "fra_Latn")
BOS, PAD, EOS, TURN = 0, 1, 2, 46  # TURN: a second end, as a chat model's end of a turn
FIRST = 13
SIZES = {
    "vocab_size": 54, "d_model": 22, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 19, "decoder_ffn_dim": 19, "max_position_embeddings": 64,
    "bos_token_id": BOS, "pad_token_id": PAD, "eos_token_id": EOS, "decoder_start_token_id": EOS,
    "forced_eos_token_id": None,
}  # fmt: skip
PROMPTS = [[5, 6, 7, 2], [11, 2], [40, 41, 42, 43, 44, 2]]


def translating(folder: Path) -> Tokenizer:
    """A tokenizer that puts the language before a text, as NLLB's does; every number is a token."""
    vocab = {name: number for number, name in enumerate(["<s>", "<pad>", "</s>", "<unk>"])}
    letters = "abcdefghijklmnopqrstuvwxyz .,床前明月光疑是地上霜举头望明低思故乡"
    vocab |= {letter: 4 + number for number, letter in enumerate(dict.fromkeys(letters))}
    rust = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    rust.add_special_tokens([AddedToken(name, special=True) for name in ("<s>", "<pad>", "</s>", "<unk>", *CODES)])
    english = rust.token_to_id("eng_Latn")
    rust.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    rust.post_processor = processors.TemplateProcessing(
        single="eng_Latn $A </s>", pair="eng_Latn $A $B </s>", special_tokens=[("eng_Latn", english), ("</s>", 2)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    rust.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return Tokenizer.load(folder)


def writing(cls: str, folder: Path, **changes) -> transformers.PreTrainedModel:
    """A random model of the reference beside a tokenizer; its weights are large, so that choices are clear."""
    torch.manual_seed(3)
    kind = getattr(transformers, cls)
    model = kind(kind.config_class(**{**SIZES, **changes})).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # Large vectors of places, small ones of tokens: what is written depends on where, and does not repeat.
            deviation = 1.5 if "position" in name else 0.3 if "shared" in name else 0.6
            if weight.dim() > 1:
                weight.normal_(0, deviation)
    model.generation_config.forced_eos_token_id = None
    model.save_pretrained(folder)
    return model
