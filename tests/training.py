"""Tiny encoders, pairs and labels that training can be tried on in seconds."""

from pathlib import Path

import sentence_transformers as st
import torch
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from dowse.label.candidates import DrawOptions
from dowse.label.pipeline import label_pairs
from dowse.label.settings import LabelSettings
from dowse.label.suspects import SuspectOptions
from dowse.mine.docstrings import Docstrings
from dowse.mine.pipeline import MineOptions, mine
from dowse.mine.split import SplitOptions

VERBS = ["read", "write", "close", "open", "parse", "send", "count", "sort", "merge", "split"]
NOUNS = ["file", "socket", "table", "image", "queue", "token", "matrix", "header"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def write_encoder(folder: Path, hidden: int = 32, layers: int = 1) -> Path:
    """Write a tiny encoder with random weights, in the files that real ones come in."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS, *(f"##{letter}" for letter in LETTERS), *VERBS, *NOUNS]
    tokenizer = Tokenizer(WordPiece({token: row for row, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder / "bert")
    torch.manual_seed(0)
    sizes = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 128,
    }
    BertModel(BertConfig(vocab_size=len(tokens), **sizes)).save_pretrained(folder / "bert")
    model = st.SentenceTransformer(modules=[Transformer(str(folder / "bert")), Pooling(hidden)], device="cpu")
    model.save_pretrained(str(folder / "model"))
    return folder / "model"


def mine_folder(folder: Path) -> Path:
    """Mine three small repositories whose functions say in other words what their docstrings say; the third is dev."""
    for package in range(3):
        (folder / f"package{package}").mkdir(parents=True)
        source = [
            f'def {verb}_{noun}(value):\n    """{verb.capitalize()} the {noun} number {package}."""\n'
            f"    {verb[::-1]} = do_{noun[::-1]}(value, {package})\n    return {verb[::-1]}.on_{noun[::-1]}\n"
            for verb in VERBS
            for noun in NOUNS
        ]
        (folder / f"package{package}" / "code.py").write_text("\n".join(source))
    split = SplitOptions(dev=frozenset({"package2"}), dev_share=0, test_share=0)
    options = MineOptions(split=split, max_copies_of_a_query=9, jobs=1)
    mine([folder / f"package{package}" for package in range(3)], folder / "pairs", [Docstrings()], options)
    return folder / "pairs"


def label_folder(pairs: Path, output: Path, ast_cutoff: float = 0) -> Path:
    """Label pairs by the shipped static model, in groups of four; trees are compared where there is a cutoff."""
    settings = LabelSettings(
        encoder="static",
        positive="docstring",
        draw=DrawOptions(negatives=3, in_groups=True),
        suspects=SuspectOptions(ast_cutoff=ast_cutoff),
        workers=1,
    )
    label_pairs(pairs, output, settings)
    return output
