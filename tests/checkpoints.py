"""Tiny models with random weights, in exactly the files that the published ones come in."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import ByteLevelBPETokenizer, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import BertConfig, BertModel, Qwen2Config, Qwen2Model, RobertaConfig, RobertaForMaskedLM, RobertaModel

CODE = """def max(a, b):
    x = 0
    if b > a:
        x = b
    else:
        x = a
    return x
"""
TEXTS = [
    CODE,
    "find the larger of two numbers",
    "func add(a int, b int) int { return a + b }",
    "function f(a) { return a }",
]
SIZES = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
ROBERTA_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
UNIXCODER_TOKENS = ["<encoder-only>", "<decoder-only>", "<encoder-decoder>", "<mask0>"]


def write_roberta(
    folder: Path,
    *,
    tokens: tuple[str, ...] = (),
    head: bool = False,
    pooler: bool = True,
    positions: int = 100,
    legacy: bool = True,
) -> Path:
    """Write `config.json`, `pytorch_model.bin`, `vocab.json` and `merges.txt`, as CodeBERT and its kin have them.

    With a head for masked words, weights are named `roberta.…` and there is no pooler. Files of 2020 are in torch's
    old format and hold position numbers as a buffer.
    """
    folder.mkdir(parents=True)
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(TEXTS, vocab_size=320, special_tokens=[*ROBERTA_TOKENS, *tokens], show_progress=False)
    tokenizer.save_model(str(folder))
    config = RobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=16,
        max_position_embeddings=positions,
        type_vocab_size=1,
        **SIZES,
    )
    torch.manual_seed(1)
    model = RobertaForMaskedLM(config) if head else RobertaModel(config, add_pooling_layer=pooler)
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    weights["roberta.embeddings.position_ids" if head else "embeddings.position_ids"] = torch.arange(positions)[None]
    torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy)
    said = config.to_dict() | {"architectures": [type(model).__name__]}
    (folder / "config.json").write_text(json.dumps(said))
    return folder


def write_qwen(folder: Path) -> Path:
    """Write `config.json`, `model.safetensors` (bfloat16), `tokenizer.json` and `tokenizer_config.json`."""
    folder.mkdir(parents=True)
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS, BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    says = {
        "tokenizer_class": "Qwen2Tokenizer",
        "pad_token": "<|endoftext|>",
        "eos_token": "<|im_end|>",
        "model_max_length": 32768,
        "chat_template": "{% for message in messages %}<|im_start|>{{ message.content }}<|im_end|>{% endfor %}",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(says))
    sizes = {"hidden_size": 16, "num_key_value_heads": 1, "max_position_embeddings": 8192}
    config = Qwen2Config(vocab_size=tokenizer.get_vocab_size(), dtype="bfloat16", **sizes, **SIZES)
    torch.manual_seed(2)
    weights = Qwen2Model(config).to(torch.bfloat16).state_dict()
    # A causal model's file: the encoder below "model.", the head tied to the embeddings and so not in it.
    save_file(
        {f"model.{name}": weight for name, weight in weights.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    said = config.to_dict() | {"architectures": ["Qwen2ForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(said))
    return folder


def write_bert(folder: Path) -> Path:
    """Write `config.json`, `model.safetensors` and `vocab.txt`, as MiniLM has them."""
    folder.mkdir(parents=True)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789()<>=:,{}+"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    config = BertConfig(vocab_size=len(tokens), hidden_size=16, max_position_embeddings=256, **SIZES)
    torch.manual_seed(3)
    weights = {name: weight.contiguous() for name, weight in BertModel(config).state_dict().items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config.to_dict() | {"architectures": ["BertModel"]}))
    return folder
