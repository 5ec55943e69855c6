"""What `fuzz` feeds with hostile input: each target turns bytes into one case and fails on anything but a calm answer.

The bytes are instructions (`Source`, `mangled`): which piece comes next, how often it is repeated, what of a sound file
is turned over. So every input is as likely to be nearly right as to be nonsense, and a failing one shrinks to a few
bytes. Only Dowse's own errors may be raised, each a sentence for a person.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import numpy as np

from dowse.config import IndexSettings, load_settings
from dowse.errors import DowseError
from dowse.index.documents import cut
from dowse.index.files import Skip, decode
from dowse.index.ignore import IgnoreFile
from dowse.index.local import LocalStore
from dowse.index.secrets import secrets_in
from dowse.index.update import update
from dowse.label.rows import read_labelled
from dowse.languages import LANGUAGES, language_of
from dowse.languages.identifiers import parts, words
from dowse.languages.terms import query_terms, terms
from dowse.mine.pairs import read_rows
from dowse.models.biencoder import BiEncoder
from dowse.models.crossencoder import CrossEncoder
from dowse.models.static import StaticEncoder, default_static
from dowse.search.searcher import Searcher
from dowse.serve.display import visible
from dowse.serve.highlight import lines_as_html

TESTS = Path(__file__).resolve().parents[1] / "tests"
CASES = tomllib.loads((TESTS / "index" / "cases.toml").read_text(encoding="utf-8"))
CODE = sorted(name for name, language in LANGUAGES.items() if language.is_code)

MOST_CHARS = 60_000
"""Of one made source: repeated pieces reach it in two instructions."""
MOST_CHARS_MOSTLY = 1_000
"""Of those that do not begin with `AT_LENGTH`: small ones find as much, and sixty times as many fit into an hour."""
AT_LENGTH = 250

Case = Callable[[bytes], None]
"""Tries one case; raises where the answer is not a calm one."""

HOSTILE = (
    *"{}()[]<>\"'`#\\@\n\r\t \0", '"""', "/*", "*/", "//", "${", "#{", "%{", "<<EOF\n", "=begin\n", "-->", "<!--",
    "]]>", "\r\n", "\ufeff", "\u2028", "\u202e", "\u2066", "\u200b", "\u200d", "\u00ad", "\x1b[31m", "\x07", "\udc80",
    "e\u0301" * 20, "𝒳", "ﬀ", "İ", "ß", "あ", "<script>", "&lt;", "0x", "1e999", "9" * 400, "a" * 3_000, "AKIA", "://",
    "-----BEGIN PRIVATE KEY-----", "generated", "#!/usr/bin/env ", "-*- coding: utf-7 -*-", "if ", "else ",
)  # fmt: skip
"""What opens and is not closed, what hides or turns text round, what is very long."""


class Source:
    """Makes sources of one language from bytes: pieces of a sound one, hostile pieces, repetitions and cuts."""

    def __init__(self, sound: str) -> None:
        """Take the pieces from a sound source: its lines and its words."""
        lines = sound.splitlines(keepends=True)
        self._pieces = [*HOSTILE, *lines, *dict.fromkeys(sound.split()), sound]

    def make(self, data: bytes) -> str:
        """Return the source that bytes stand for: the same for the same bytes."""
        most = MOST_CHARS if data and data[0] >= AT_LENGTH else MOST_CHARS_MOSTLY
        made: list[str] = []
        size = 0
        instructions = iter(data)
        for instruction in instructions:
            operand = next(instructions, 0)
            if instruction < 200 or not made:
                made.append(self._pieces[(instruction * 256 + operand) % len(self._pieces)])
            elif instruction < 230:
                times = min(2 ** (operand % 14), (most - size) // max(len(made[-1]), 1))
                made.append(made[-1] * max(times, 0))
            else:
                made[-1] = made[-1][: len(made[-1]) * operand // 256]
            size += len(made[-1])
            if size >= most:
                break
        return "".join(made)[:most]


def mangled(sound: bytes, data: bytes) -> bytes:
    """Return a sound file with some bytes turned over, and perhaps cut short, doubled, or a part of it gone."""
    made = bytearray(sound)
    for at in range(0, len(data) - 4, 5):
        how, where, value = data[at] % 8, int.from_bytes(data[at + 1 : at + 4], "big"), data[at + 4]
        place = where % max(len(made), 1)
        if how < 4 and made:
            made[place] = value
        elif how == 4:
            del made[place:]
        elif how == 5:
            del made[place : place + value]
        elif how == 6:
            made[place:place] = made[place : place + value]
        else:
            made[place : place + 8] = int(value - 128).to_bytes(8, "little", signed=True)
    return bytes(made)


def cutter(language: str, scratch: Path) -> Case:
    """Every line that is not blank is in exactly one document, whatever the source."""
    source = Source(CASES.get(language, CASES["python"])["source"])

    def case(data: bytes) -> None:
        text = source.make(data)
        held: list[int] = []
        for span in cut(text, LANGUAGES[language]):
            held += range(span.start_line, span.end_line + 1)
        lines = text.replace("\r\n", "\n").split("\n")
        written = [number for number, line in enumerate(lines, 1) if line.strip()]
        assert [number for number in held if lines[number - 1].strip()] == written, "a line is lost or held twice"

    return case


def tokenizer(scratch: Path) -> Case:
    """Words, terms and embeddings exist for every text, and rows are of unit norm or zero."""
    source, encoder = Source("".join(case["source"] for case in CASES.values())), default_static()

    def case(data: bytes) -> None:
        text = source.make(data)[:4_000]
        for word in words(text):
            parts(word)
        terms(text)
        query_terms(text)
        norm = float(np.linalg.norm(encoder.encode_queries([text])))
        assert norm == 0 or abs(norm - 1) < 1e-3, norm

    return case


def texts(scratch: Path) -> Case:
    """Bytes become text or a reason; text is shown and never obeyed, and looked through for secrets."""
    source = Source("\n".join(CASES[name]["source"] for name in ("python", "php", "javascript")))

    def case(data: bytes) -> None:
        made = source.make(data[1:])
        raw = made.encode(("utf-8", "utf-16", "latin-1", "utf-8")[data[0] % 4 if data else 0], "replace")
        decoded = decode(mangled(raw, data[:20]))
        text = made if isinstance(decoded, Skip) else decoded
        language_of(text[:100], text[:2_000])
        list(secrets_in(text))
        shown = visible(text[:5_000])
        assert all(char.isprintable() or char in "\t\n\u00a0\u00ad\u3000" or ord(char) > 0x100 for char in shown)
        assert not set(shown) & set("\x1b\x07\0\u202e\u2066\u200b\r"), "a terminal would obey this"
        html = "".join(lines_as_html(text[:500], "php") or [])
        assert "<script" not in html and "<!--" not in html, "a browser would obey this"

    return case


def ignore_rules(scratch: Path) -> Case:
    """Every rule is compiled and asked about every name in no time."""
    source = Source(
        "*.py\n!keep.py\n/build/\n**/a/**/b\n[a-z]*[!x]\n[[:alpha:]]?\n\\#x\n**\n*a*a*a*a*a*a*b\n[^]]\n[\\]-a]\n"
    )

    def case(data: bytes) -> None:
        rules = tuple(source.make(data).replace("\0", "").split("\n")[:200])
        file = IgnoreFile("/r/", rules)
        for path in ("a", "b/c.py", "a" * 200, "x/" * 60 + "y", "keep.py", "[a]", "é\u202e\n"):
            file.verdict(f"/r/{path}", path.rpartition("/")[2], "")

    return case


def settings(scratch: Path) -> Case:
    """A folder's settings are read or refused in one sentence."""
    source = Source(
        '[index]\nexclude = ["a"]\nmax_file_bytes = 10\n[search]\ntop_k = 5\nretriever = "off"\n[serve]\nport = 1\n'
    )

    def case(data: bytes) -> None:
        (scratch / ".dowse.toml").write_bytes(source.make(data)[:20_000].encode("utf-8", "surrogateescape"))
        with suppress(DowseError):
            load_settings(scratch)

    return case


def index_files(scratch: Path) -> Case:
    """A damaged index answers, is built anew, or is refused with a remedy that works."""
    project, index = scratch / "project", scratch / "indexes"
    for name in ("python", "go", "typescript"):
        project.mkdir(exist_ok=True)
        (project / f"a.{LANGUAGES[name].extensions[0].lstrip('.')}").write_text(CASES[name]["source"], encoding="utf-8")
    said = {"index": {"directory": str(index)}, "search": {"retriever": "off"}}
    Searcher.open([project], said).close()
    (folder,) = index.iterdir()
    sound = shutil.copytree(folder, scratch / "sound")
    names = sorted(path.relative_to(sound) for path in sound.rglob("*") if path.is_file() and path.stat().st_size)

    def ask(rebuild: bool) -> None:
        with Searcher.open([project], said, rebuild=rebuild) as searcher:
            searcher.search("say hello")
            searcher.literal("hello")
            for document in searcher.documents():
                assert document.text

    def case(data: bytes) -> None:
        shutil.rmtree(folder)
        shutil.copytree(sound, folder)
        victim = folder / names[data[0] % len(names) if data else 0]
        victim.write_bytes(mangled(victim.read_bytes(), data[1:]))
        try:
            ask(rebuild=False)
        except DowseError:
            ask(rebuild=True)

    return case


def model_files(kind: str, scratch: Path) -> Case:
    """A model whose files were made to have their recorded hashes is loaded and used, or is refused."""
    sys.path.insert(0, str(TESTS))
    from crossencoders import write_crossencoder

    load = {"static": StaticEncoder.load, "biencoder": BiEncoder.load, "ranker": CrossEncoder.load}[kind]
    fixture = TESTS / "fixtures" / f"{kind}-1" if kind != "ranker" else write_crossencoder(scratch / "sound")
    names = sorted(path.name for path in fixture.iterdir())
    folder = shutil.copytree(fixture, scratch / "model")

    def case(data: bytes) -> None:
        for name in names:
            shutil.copyfile(fixture / name, folder / name)
        victim = folder / names[data[0] % len(names) if data else 0]
        victim.write_bytes(mangled(victim.read_bytes(), data[1:]))
        with suppress(ValueError, KeyError, TypeError):
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            recorded = config["files"]
            for name in recorded.keys() & set(names):
                recorded[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        with suppress(DowseError):
            model, texts = load(folder), ["get user name", "é 日本"]
            said = model.score("user", texts) if isinstance(model, CrossEncoder) else model.encode_queries(texts)
            assert np.isfinite(said).all()

    return case


def parquet(kind: str, scratch: Path) -> Case:
    """A damaged file of pairs or labels is read or refused."""
    sys.path.insert(0, str(TESTS))
    from labelling import rows, write_pairs

    folder = write_pairs(scratch / "pairs", rows(count=20))
    if kind == "labels":
        command = [sys.executable, "-m", "dowse", "label", str(folder), "-o", str(scratch / "labels")]
        subprocess.run([*command, "--encoder", "static", "-k", "3"], check=True, capture_output=True)
        folder = scratch / "labels"
    (file,) = folder.glob("*0.parquet")
    sound = file.read_bytes()
    read: Callable[[Path], Iterator[object]] = {"pairs": read_rows, "labels": read_labelled}[kind]

    def case(data: bytes) -> None:
        file.write_bytes(mangled(sound, data))
        with suppress(DowseError):
            for _ in read(folder):
                pass

    return case


def updates(scratch: Path) -> Case:
    """A tree of files with hostile names and contents is indexed, and its index is found whole."""
    source, encoder = Source(CASES["python"]["source"]), default_static()
    root = scratch / "tree"

    def case(data: bytes) -> None:
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        for number in range(3):
            name = source.make(data[number::3])[:40].replace("/", "_").replace("\0", "") or "x"
            with suppress(OSError):
                (root / f"{name}{('.py', '.go', '.php')[number]}").write_text(
                    source.make(data[number:])[:5_000], encoding="utf-8", errors="surrogateescape"
                )
        shutil.rmtree(scratch / "index", ignore_errors=True)
        with closing(LocalStore(scratch / "index", "tree")) as store:
            update(store, root, IndexSettings(include_text=True), encoder)
            store.reload()
            assert store.is_whole and len(list(store.documents())) == len(store) == len(store.embeddings())

    return case


TARGETS: dict[str, tuple[Callable[[Path], Case], int]] = {
    **{f"cut {name}": (partial(cutter, name), 20_000) for name in [*CODE, "markdown"]},
    "tokenizer": (tokenizer, 120_000),
    "texts": (texts, 90_000),
    "ignore rules": (ignore_rules, 160_000),
    "settings": (settings, 80_000),
    "index files": (index_files, 3_000),
    "updates": (updates, 2_000),
    "static model": (partial(model_files, "static"), 20_000),
    "bi-encoder": (partial(model_files, "biencoder"), 8_000),
    "ranker": (partial(model_files, "ranker"), 8_000),
    "pairs": (partial(parquet, "pairs"), 30_000),
    "labels": (partial(parquet, "labels"), 30_000),
}
"""Every target with the number of cases of a whole run, by what a case costs."""
