"""Writes source trees of any size for measurements: many small functions in five languages, from real words.

The words are the identifier parts of Python's own standard library, drawn by how often they occur there, so that few
are common and most are rare, as in any code. The same seed and the same Python write the same tree. What it leaves
out is meaning: rankings over such a tree say nothing, times and sizes do.
"""

from __future__ import annotations

import random
import sysconfig
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from dowse.languages.identifiers import parts, words

FUNCTIONS_PER_FILE = 10
STATEMENTS = (4, 12)
"""Fewest and most statements of a function: about 500 characters each, near what real repositories show."""
VOCABULARY_FILES = 400
_DEFINITIONS = {
    "py": ("def {name}({a}, {b}):\n    # {comment}\n{body}    return {a}\n", "    {x} = {y}.{f}({z})\n", "_"),
    "js": (
        "// {comment}\nfunction {name}({a}, {b}) {{\n{body}  return {a};\n}}\n",
        "  const {x} = {y}.{f}({z});\n",
        "",
    ),
    "go": (
        "// {comment}\nfunc {name}({a} int, {b} int) int {{\n{body}\treturn {a}\n}}\n",
        "\t{x} := {y}.{f}({z})\n",
        "",
    ),
    "rs": (
        "/// {comment}\nfn {name}({a}: u32, {b}: u32) -> u32 {{\n{body}    {a}\n}}\n",
        "    let {x} = {y}.{f}({z});\n",
        "_",
    ),
    "c": (
        "/* {comment} */\nint {name}(int {a}, int {b})\n{{\n{body}    return {a};\n}}\n",
        "    int {x} = {f}({y}, {z});\n",
        "_",
    ),
}


@dataclass
class Words:
    """Draws words by frequency; `common_first` is the vocabulary in falling frequency."""

    common_first: list[str]
    weights: list[int]
    random: random.Random

    def draw(self, count: int) -> list[str]:
        """Return `count` words, common ones more often."""
        return self.random.choices(self.common_first, cum_weights=self.weights, k=count)

    def name(self, separator: str) -> str:
        """Return an identifier of two or three words (never a keyword), camel case where there is no separator."""
        chosen = self.draw(self.random.randint(2, 3))
        return separator.join(chosen) if separator else chosen[0] + "".join(word.title() for word in chosen[1:])


def read_words(seed: int) -> Words:
    """Count the identifier parts of the standard library's modules."""
    library = Path(sysconfig.get_paths()["stdlib"])
    counts: Counter[str] = Counter()
    for path in sorted(library.glob("*.py"))[:VOCABULARY_FILES]:
        for word in words(path.read_text(encoding="utf-8", errors="replace")):
            counts.update(part for part in parts(word) if _is_name(part))
    ranked = counts.most_common()
    return Words([word for word, _ in ranked], list(accumulate(count for _, count in ranked)), random.Random(seed))


def write_tree(root: Path, n_functions: int, seed: int = 0) -> int:
    """Write about `n_functions` functions below a new folder and return the number of files."""
    source = read_words(seed)
    endings = sorted(_DEFINITIONS)
    n_files = -(-n_functions // FUNCTIONS_PER_FILE)
    for number in range(n_files):
        ending = endings[number % len(endings)]
        folder = root / f"area_{number // 1000}" / f"part_{number // 50 % 20}"
        folder.mkdir(parents=True, exist_ok=True)
        functions = "\n\n".join(_function(source, ending) for _ in range(FUNCTIONS_PER_FILE))
        (folder / f"{source.name('_')}_{number}.{ending}").write_text(functions, encoding="utf-8")
    return n_files


def queries(count: int, seed: int = 1) -> list[str]:
    """Return questions of three to seven words of the same vocabulary, and one identifier in every five."""
    source = read_words(seed)
    return [
        source.name("_") if number % 5 == 4 else " ".join(source.draw(source.random.randint(3, 7)))
        for number in range(count)
    ]


def _is_name(part: str) -> bool:
    return part.isascii() and part.isalpha() and len(part) > 2


def _function(source: Words, ending: str) -> str:
    frame, statement, separator = _DEFINITIONS[ending]
    a, b = source.name(separator), source.name(separator)
    body = "".join(
        statement.format(x=source.name(separator), y=a, f=source.name(separator), z=b)
        for _ in range(source.random.randint(*STATEMENTS))
    )
    comment = " ".join(source.draw(source.random.randint(6, 14)))
    return frame.format(name=source.name(separator), a=a, b=b, comment=comment, body=body)
