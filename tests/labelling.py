"""Pairs folders and tiny models for the tests of labelling, made on the fly."""

import hashlib
import itertools
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dowse.mine.pairs import SCHEMA

VERBS = ("parse", "remove", "sort", "merge", "upload", "count", "close", "find", "rename", "copy")
THINGS = ("date", "file", "list of users", "config", "socket", "table row", "cache entry", "log line", "image", "token")
BODIES = (
    "    for item in {n}:\n        if not item:\n            continue\n        total += {v}(item)\n    return total\n",
    "    with open({n}) as stream:\n        return [{v}(line) for line in stream if line.strip()]\n",
    "    try:\n        return {v}({n})\n    except OSError:\n        return None\n    finally:\n        {n}.close()\n",
    "    left, right = {n}[0], {n}[1]\n    while left < right:\n        left = {v}(left)\n    return left\n",
)


def row(query, code, repository="owner/one", path="src/a.py", symbol="f", **others):
    """One pair; whatever is not said is derived."""
    bare = others.pop("text_without_comments", code)
    source = others.pop("source", "docstrings")
    named = "\0".join((repository, path, symbol, query, source, bare))
    found = {
        "pair_id": hashlib.sha256(named.encode()).hexdigest()[:24],
        "query": query,
        "text": code,
        "text_without_comments": bare,
        "repository": repository,
        "commit": "0" * 40,
        "licence": "MIT",
        "path": path,
        "start_line": 1,
        "end_line": 1 + code.count("\n"),
        "language": "python",
        "symbol": symbol,
        "source": source,
        "split": "train",
        "code_hash": hashlib.sha256(bare.encode()).hexdigest()[:24],
    }
    return found | others


def rows(repository="owner/one", count=100):
    """So many different functions of one repository, each with a docstring of its own."""
    found = []
    for number, (thing, verb) in enumerate(itertools.islice(itertools.cycle(itertools.product(THINGS, VERBS)), count)):
        name = f"{verb}_{thing.replace(' ', '_')}_{number}"
        body = BODIES[number % len(BODIES)].format(n=thing.split()[0], v=verb)
        query = f"{verb.capitalize()} the {thing} number {number} and say what came of it."
        code = f"def {name}({thing.split()[0]}, total=0):\n{body}"
        documented = code.replace(":\n", f':\n    """{query}"""\n', 1)
        place = {"repository": repository, "path": f"src/{thing.split()[0]}.py", "symbol": name}
        found.append(row(query, documented, text_without_comments=code, **place))
    return found


def write_pairs(folder: Path, pairs, group=64, schema=SCHEMA) -> Path:
    """Write a finished pairs folder, a file for each repository."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(dict.fromkeys(pair["repository"] for pair in pairs)):
        table = pa.Table.from_pylist([pair for pair in pairs if pair["repository"] == name], schema)
        pq.write_table(table, folder / f"{number:03d}.parquet", row_group_size=group)
    (folder / "manifest.json").write_text("{}")
    return folder


def labelled(folder: Path):
    """Every row of a labelled folder as a dictionary, in order."""
    return [found for path in sorted(folder.glob("labels-*.parquet")) for found in pq.read_table(path).to_pylist()]


def tiny_bert(words):
    """A BERT of two layers and 32 dimensions, its weights from a seed, its tokenizer from some words."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: number for number, word in enumerate([*special, *sorted(set(words))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names)
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return fast, BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **size)


WORDS = [word.lower() for text in (*VERBS, *THINGS) for word in text.split()] + [
    "the",
    "and",
    "say",
    "what",
    "came",
    "of",
    "it",
    "number",
]


def sentence_model(folder: Path, words=WORDS) -> Path:
    """Write a sentence-transformers folder around a tiny BERT."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertModel

    tokenizer, config = tiny_bert(words)
    plain = folder.with_name(f"{folder.name}-plain")
    BertModel(config).save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    body = Transformer(str(plain))
    SentenceTransformer(modules=[body, Pooling(32, pooling_mode="mean")], device="cpu").save_pretrained(str(folder))
    return folder


def cross_encoder(folder: Path, words=WORDS, labels=1) -> Path:
    """Write a cross-encoder folder around a tiny BERT."""
    from transformers import BertForSequenceClassification

    tokenizer, config = tiny_bert(words)
    config.num_labels = labels
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
