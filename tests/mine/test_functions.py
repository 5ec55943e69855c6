import ast
from pathlib import Path

import pytest

from dowse.languages import LANGUAGES
from dowse.mine.functions import CLASSES, FUNCTIONS, MAX_CLASS_CHARS, Function, functions_of

SAMPLES = {
    "python": (
        'class Store:\n    @property\n    def size(self):\n        """Return the bytes on disk.\n\n        Not more.\n'
        '        """\n        # blocks\n        return os.stat(self.path).st_blocks * 512\n',
        ("Store.size", "Return the bytes on disk.", ("os.stat",), 2, 9),
        "@property\ndef size(self):\n    return os.stat(self.path).st_blocks * 512",
    ),
    "java": (
        "class Store {\n  /**\n   * Returns the bytes on {@code disk}.\n   *\n   * @return bytes\n   */\n  @Override\n"
        "  public long size() {\n    // blocks\n    return stat(path).blocks() * 512;\n  }\n}\n",
        ("Store.size", "Returns the bytes on disk.", ("blocks", "stat"), 2, 11),
        "@Override\npublic long size() {\n  return stat(path).blocks() * 512;\n}",
    ),
    "javascript": (
        "/**\n * Count the words of a file, whatever its size may be.\n * @param {string} path where it is\n */\n"
        "export const countWords = async (path) => {\n  /* all */\n"
        "  return (await read(path)).split(' ').length;\n};\n",
        ("countWords", "Count the words of a file, whatever its size may be.", ("split", "read"), 1, 8),
        "export const countWords = async (path) => {\n  return (await read(path)).split(' ').length;\n};",
    ),
    "typescript": (
        "class Cart {\n  /** Adds up the [prices](#x). */\n  total(tax: number): number {\n"
        "    return sum(this.prices) * tax;\n"
        "  }\n}\n",
        ("Cart.total", "Adds up the prices.", ("sum",), 2, 5),
        "total(tax: number): number {\n  return sum(this.prices) * tax;\n}",
    ),
    "go": (
        "package a\n\n// Size returns the bytes on disk.\n//\n// It is slow.\n//go:noinline\n"
        "func (s *Store) Size() int {\n"
        "\treturn s.blocks() * 512 // each\n}\n",
        ("Store.Size", "Size returns the bytes on disk.", ("s.blocks",), 3, 9),
        "func (s *Store) Size() int {\n\treturn s.blocks() * 512\n}",
    ),
    "rust": (
        "impl Store {\n    /// Returns the bytes on [`Disk`].\n    ///\n    /// # Panics\n    #[inline]\n"
        "    pub fn size(&self) -> u64 {\n        // blocks\n        self.blocks() * 512\n    }\n}\n",
        ("Store.size", "Returns the bytes on Disk.", ("blocks",), 2, 9),
        "#[inline]\npub fn size(&self) -> u64 {\n    self.blocks() * 512\n}",
    ),
    "c": (
        "/* Return the bytes on disk,\n * all of them. */\nstatic long size(struct store *s)\n{\n"
        "\treturn blocks(s) * 512;\n}\n",
        ("size", "Return the bytes on disk, all of them.", ("blocks",), 1, 6),
        "static long size(struct store *s)\n{\n\treturn blocks(s) * 512;\n}",
    ),
    "cpp": (
        "namespace a {\n/// \\brief Returns the bytes on disk.\n/// \\param s what\nlong Store::size(int s) const {\n"
        "  return blocks() * 512;\n}\n}\n",
        ("Store.size", "Returns the bytes on disk.", ("blocks",), 2, 6),
        "long Store::size(int s) const {\n  return blocks() * 512;\n}",
    ),
    "csharp": (
        'class Store {\n    /// <summary>\n    /// Gets the bytes on <see cref="Disk"/>.\n    /// </summary>\n'
        "    /// <returns>bytes</returns>\n    public long Size() {\n        return Blocks() * 512;\n    }\n}\n",
        ("Store.Size", "Gets the bytes on Disk.", ("Blocks",), 2, 8),
        "public long Size() {\n    return Blocks() * 512;\n}",
    ),
    "php": (
        "<?php\nclass Store {\n    /**\n     * Returns the bytes on disk.\n     * @return int\n     */\n"
        "    public function size(): int\n    {\n        # blocks\n        return $this->blocks() * 512;\n    }\n}\n",
        ("Store.size", "Returns the bytes on disk.", ("blocks",), 3, 11),
        "public function size(): int\n{\n    return $this->blocks() * 512;\n}",
    ),
    "ruby": (
        "class Store\n  # Public: Returns the bytes on +disk+.\n  #\n  # @return [Integer]\n  def size\n"
        "    blocks(path) * 512 # each\n  end\nend\n",
        ("Store.size", "Returns the bytes on disk.", ("blocks",), 2, 7),
        "def size\n  blocks(path) * 512\nend",
    ),
    "kotlin": (
        "class Store {\n  /** Returns the bytes on [disk]. */\n  fun size(): Long {\n"
        "    return blocks() * 512\n  }\n}\n",
        ("Store.size", "Returns the bytes on disk.", ("blocks",), 2, 5),
        "fun size(): Long {\n  return blocks() * 512\n}",
    ),
    "swift": (
        "struct Store {\n    /// Returns the bytes on `disk`.\n    ///\n    /// - Returns: bytes\n"
        "    func size() -> Int {\n"
        "        return blocks() * 512\n    }\n}\n",
        ("Store.size", "Returns the bytes on disk.", ("blocks",), 2, 7),
        "func size() -> Int {\n    return blocks() * 512\n}",
    ),
    "scala": (
        "object Store {\n  /** Returns the bytes on [[Disk]].\n    * @return bytes\n    */\n"
        "  def size(path: String): Long =\n"
        "    blocks(path) * 512\n}\n",
        ("Store.size", "Returns the bytes on Disk.", ("blocks",), 2, 6),
        "def size(path: String): Long =\n  blocks(path) * 512",
    ),
    "lua": (
        "-- Returns the bytes on disk.\nfunction Store.size(path)\n  return blocks(path) * 512\nend\n",
        ("Store.size", "Returns the bytes on disk.", ("blocks",), 1, 4),
        "function Store.size(path)\n  return blocks(path) * 512\nend",
    ),
    "zig": (
        "/// Returns the bytes on disk.\npub fn size(path: []const u8) u64 {\n    return blocks(path) * 512;\n}\n",
        ("size", "Returns the bytes on disk.", ("blocks",), 1, 4),
        "pub fn size(path: []const u8) u64 {\n    return blocks(path) * 512;\n}",
    ),
}


def functions(language: str, source: str) -> list[Function]:
    return functions_of("a", source, LANGUAGES[language], "owner/kit")


@pytest.mark.parametrize("language", SAMPLES)
def test_a_documented_function_is_found_with_its_place_calls_and_bare_code(language):
    source, (symbol, docstring, calls, start, end), bare = SAMPLES[language]
    [found] = functions(language, source)
    assert (found.symbol, found.docstring, found.calls) == (symbol, docstring, calls)
    assert (found.start_line, found.end_line) == (start, end)
    assert found.text_without_comments == bare
    assert (found.repository, found.path, found.language) == ("owner/kit", "a", language)
    lines = source.split("\n")[start - 1 : end]
    assert [line.strip() for line in found.text.split("\n")] == [line.strip() for line in lines]


@pytest.mark.parametrize("after", ["", ";", "; // once more", " // once more", "; /* once */ /* more */"])
def test_what_follows_a_definition_on_its_line_is_no_part_of_its_hash(after):
    source = "const again = (path) => {\n" + "  // and again\n  send(path, find(path));\n" * 5 + "}"
    [plain], [found] = functions("javascript", source), functions("javascript", f"{source}{after}\n")
    assert found.code_hash == plain.code_hash


@pytest.mark.parametrize("language", SAMPLES)
def test_the_hash_of_code_is_blind_to_comments_space_and_what_stands_around(language):
    source, _, bare = SAMPLES[language]
    [found] = functions(language, source)
    before = {"php": "<?php\nclass Store {\n", "typescript": "class Store {\n"}.get(language, "")
    [alone] = functions(language, before + bare.replace(") ", ")   ") + "\n")
    assert alone.code_hash == found.code_hash
    [other] = functions(language, source.replace("512", "513").replace(".length", ".size").replace("* tax", "+ tax"))
    assert other.code_hash != found.code_hash


@pytest.mark.parametrize(
    ("language", "source"),
    [
        ("java", "interface A {\n  /** Returns the size. */\n  long size();\n}\n"),
        ("typescript", "/** Returns the size. */\nexport function size(a: string): number;\n"),
        ("kotlin", "interface A {\n  /** Returns the size. */\n  fun size(): Long\n}\n"),
        ("scala", "trait A {\n  /** Returns the size. */\n  def size: Long\n}\n"),
        ("csharp", "interface A {\n  /// <summary>Size.</summary>\n  long Size();\n}\n"),
        ("php", "<?php interface A {\n  /** Returns the size. */\n  public function size(): int;\n}\n"),
        ("rust", "trait A {\n    /// Returns the size.\n    fn size(&self) -> u64;\n}\n"),
        ("cpp", "class A {\n  /// Returns the size.\n  long size() const;\n};\n"),
        ("go", "package a\n\n// Size returns the size.\nfunc Size() int\n"),
    ],
)
def test_a_declaration_without_a_body_is_no_function(language, source):
    assert functions(language, source) == []


@pytest.mark.parametrize(
    ("language", "source"),
    [
        ("go", "package a\n\n// A section.\n\nfunc Size() int { return blocks() * 512 }\n"),
        ("c", "int x; // unrelated\nint size(void) { return blocks() * 512; }\n"),
        ("java", "class A {\n  // not documentation\n  long size() { return blocks() * 512; }\n}\n"),
        ("javascript", "/* not documentation */\nfunction size() { return blocks() * 512; }\n"),
        ("rust", "// not documentation\nfn size() -> u64 { blocks() * 512 }\n"),
        ("python", "# not documentation\ndef size():\n    return blocks() * 512\n"),
        ("python", 'def size():\n    text = """not documentation"""\n    return blocks(text) * 512\n'),
    ],
)
def test_other_comments_are_not_documentation(language, source):
    [found] = functions(language, source)
    assert found.docstring == ""
    assert "blocks" in found.text_without_comments


def test_a_comment_inside_a_string_stays_in_the_code():
    [found] = functions("python", "def url(host):\n    return 'http://' + host + '#top'  # whole\n")
    assert found.text_without_comments == "def url(host):\n    return 'http://' + host + '#top'"
    [found] = functions("java", 'class A { String url() { return "/* no */" + f(); /* yes */ } }')
    assert '"/* no */"' in found.text_without_comments
    assert "yes" not in found.text_without_comments


def test_a_comment_between_two_words_leaves_a_space():
    [found] = functions("c", "static/*x*/int size(void) { return blocks() * 512; }\n")
    assert found.text_without_comments == "static int size(void) { return blocks() * 512; }"


def test_attributes_may_stand_between_documentation_and_function():
    source = "/// Returns the size.\n#[cfg(any(\n    unix,\n))]\n#[inline]\nfn size() -> u64 { blocks() * 512 }\n"
    [found] = functions("rust", source)
    assert found.docstring == "Returns the size."


@pytest.mark.parametrize(
    ("language", "source"),
    [
        (
            "python",
            'class Queue(Base):\n    """Keeps what failed."""\n\n    def add(self, one):\n        self.x = one\n',
        ),
        ("java", "/** Keeps what failed. */\nclass Queue {\n  void add(Upload one) { x = one; }\n}"),
        ("rust", "/// Keeps what failed.\nstruct Queue {\n    items: Vec<Upload>,\n}"),
        ("typescript", "/** Keeps what failed. */\nexport class Queue {\n  add(one: Upload) { this.x = one }\n}"),
        ("go", "// Queue keeps what failed.\ntype Queue struct {\n\titems []Upload\n}"),
    ],
)
def test_classes_are_found_where_they_are_asked_for_and_nowhere_else(language, source):
    tables = LANGUAGES[language]
    [found] = functions_of("a", source, tables, kinds=CLASSES)
    assert (found.symbol, found.kind) == ("Queue", "class")
    assert found.docstring.lower().endswith("keeps what failed.") and "failed" not in found.text_without_comments
    functions = functions_of("a", source, tables)
    assert not any(one.kind == "class" for one in functions)
    assert functions_of("a", source, tables, kinds=CLASSES | FUNCTIONS) == [found, *functions]


def test_of_a_long_class_the_beginning_is_kept_in_whole_lines():
    methods = "".join(f"    def method_{number}(self):\n        return {number}\n" for number in range(500))
    [found] = functions_of(
        "a.py", f'class Long:\n    """Has many methods."""\n{methods}', LANGUAGES["python"], kinds=CLASSES
    )
    for text in (found.text, found.text_without_comments):
        assert MAX_CLASS_CHARS - 60 < len(text) <= MAX_CLASS_CHARS
        assert text.splitlines()[-1].startswith(("    def method_", "        return "))
    assert (found.start_line, found.end_line) == (1, 1002)


def test_windows_line_ends_and_a_byte_order_mark_change_nothing():
    source, _, _ = SAMPLES["python"]
    [expected] = functions("python", source)
    [found] = functions_of(
        "a", b"\xef\xbb\xbf" + source.replace("\n", "\r\n").encode(), LANGUAGES["python"], "owner/kit"
    )
    assert found == expected


def test_form_feeds_and_other_separators_do_not_shift_lines():
    source = "x = '\x0c\x1c\u2028'\n\x0c\ndef size():\n    '''Return the size.'''\n    return blocks()\n"
    [found] = functions("python", source)
    assert (found.start_line, found.end_line) == (3, 5)
    assert found.docstring == "Return the size."


@pytest.mark.parametrize("language", SAMPLES)
def test_broken_source_is_read_as_far_as_it_goes(language):
    source, _, _ = SAMPLES[language]
    for cut in range(0, len(source), 7):
        functions(language, source[:cut])
        functions(language, source[cut:])


def test_nothing_but_documentation_is_lost_from_real_python():
    source = Path(ast.__file__).read_text(encoding="utf-8")
    found = functions("python", source)
    assert len(found) > 100
    wholes = [ast.parse(one.text).body[0] for one in found]
    for whole, one in zip(wholes, found, strict=True):
        documented = ast.get_docstring(whole)
        assert bool(one.docstring) <= bool(documented)
        if len(whole.body) > bool(documented):
            bare = ast.parse(one.text_without_comments).body[0]
            assert ast.get_docstring(bare) is None
            if not documented:
                assert ast.dump(whole) == ast.dump(bare)
