import shutil

import pytest
from biencoders import write_biencoder
from repos import commit, git, make_repository
from sources import FILES

from dowse.config import IndexSettings, index_folder
from dowse.errors import ConfigError
from dowse.index import cache
from dowse.index.local import LocalStore
from dowse.index.update import bring_up_to_date, update
from dowse.index.worktrees import adopt, worktrees
from dowse.models.biencoder import BiEncoder
from dowse.models.static import StaticEncoder, default_static
from dowse.search.retrieve import fill
from dowse.search.roots import open_roots


class Counting(StaticEncoder):
    """The shipped model, counting what it is given to embed."""

    @classmethod
    def made(cls):
        encoder = cls.__new__(cls)
        encoder.__dict__.update(default_static().__dict__)
        encoder.embedded = 0
        return encoder

    def encode_words(self, documents, names=None):
        self.embedded += len(documents)
        return super().encode_words(documents, names)


def opened(root, settings):
    return LocalStore(index_folder(root, settings), root.name)


def two_worktrees(tmp_path):
    main = make_repository(tmp_path / "main", FILES)
    git(main, "worktree", "add", "--quiet", "-b", "topic", str(tmp_path / "topic"))
    commit(tmp_path / "topic", {"new.py": "def only_here():\n    return 1\n", "web/cart.ts": ""}, "topic")
    return main.resolve(), (tmp_path / "topic").resolve()


def test_worktrees_find_each_other_and_clones_find_none(tmp_path):
    main, topic = two_worktrees(tmp_path)
    assert list(worktrees(main)) == [topic] and list(worktrees(topic)) == [main]
    git(tmp_path, "clone", "--quiet", str(main), "clone")
    assert list(worktrees(tmp_path / "clone")) == []
    plain = tmp_path / "plain"
    plain.mkdir()
    assert list(worktrees(plain)) == []
    (plain / ".git").write_text("gitdir: nowhere\n")
    assert list(worktrees(plain)) == []
    record = main / ".git" / "worktrees" / "topic" / "gitdir"
    record.write_text("../../../../topic/.git\n")  # as git 2.48 does where worktree.useRelativePaths is set
    assert list(worktrees(main)) == [topic] and list(worktrees(topic)) == [main]
    shutil.rmtree(topic)
    assert list(worktrees(main)) == []


def test_a_new_worktree_embeds_only_what_differs_and_finds_what_a_new_index_finds(tmp_path):
    main, topic = two_worktrees(tmp_path)
    settings = IndexSettings(directory=str(tmp_path / "indexes"))
    encoder = Counting.made()
    with_main = opened(main, settings)
    bring_up_to_date(with_main, main, settings, encoder)
    whole = encoder.embedded
    assert adopt(index_folder(topic, settings), topic, settings, encoder) == main
    store = opened(topic, settings)
    encoder.embedded = 0
    bring_up_to_date(store, topic, settings, encoder)
    assert encoder.embedded == 1 < whole
    anew = IndexSettings(directory=str(tmp_path / "anew"))
    fresh = opened(topic, anew)
    update(fresh, topic, anew, encoder)
    assert list(store.documents()) == list(fresh.documents())
    assert {document.symbol for document in store.documents()} >= {"only_here", "parse_duration"}
    assert store.is_whole
    assert "web/cart.ts" in {document.path for document in with_main.documents()}  # the source is as it was
    for one in (store, fresh, with_main):
        one.close()


def test_nothing_is_taken_that_is_not_needed_or_does_not_fit(tmp_path):
    main, topic = two_worktrees(tmp_path)
    settings = IndexSettings(directory=str(tmp_path / "indexes"))
    encoder = Counting.made()
    place = index_folder(topic, settings)
    assert adopt(place, topic, settings, encoder) is None  # no index to take
    with_main = opened(main, settings)
    bring_up_to_date(with_main, main, settings, encoder)
    with_main.close()
    encoder._fingerprint = "another model"
    assert adopt(place, topic, settings, encoder) is None and not place.exists()
    encoder = Counting.made()
    (index_folder(main, settings) / "index.sqlite").write_bytes(b"garbage" * 1000)
    assert adopt(place, topic, settings, encoder) is None and not place.exists()
    place.mkdir(parents=True)
    assert adopt(place, topic, settings, encoder) is None and not any(place.iterdir())


def test_a_new_worktree_takes_the_bi_encoders_embeddings_along_unless_they_are_damaged(tmp_path):
    main, topic = two_worktrees(tmp_path)
    settings = IndexSettings(directory=str(tmp_path / "indexes"))
    encoder, retriever = Counting.made(), BiEncoder.load(write_biencoder(tmp_path / "retriever"))
    with_main = opened(main, settings)
    bring_up_to_date(with_main, main, settings, encoder)
    assert fill(with_main, retriever) == 0
    assert adopt(index_folder(topic, settings), topic, settings, encoder) == main
    store = opened(topic, settings)
    bring_up_to_date(store, topic, settings, encoder)
    held = store.cache(retriever)
    new = store.hashes_of(store.ids_of_file("new.py"))
    assert held.is_settled and held.missing(store.hashes()).tolist() == new.tolist()
    store.close()
    with_main.close()
    shutil.rmtree(index_folder(topic, settings))
    (index_folder(main, settings) / cache.FILE).write_bytes(b"garbage" * 1000)
    assert adopt(index_folder(topic, settings), topic, settings, encoder) == main
    assert not (index_folder(topic, settings) / cache.FILE).exists()


def test_a_first_search_in_a_new_worktree_begins_with_the_index_of_another_unless_it_is_to_be_made_anew(tmp_path):
    main, topic = two_worktrees(tmp_path)
    overrides = {"index": {"directory": str(tmp_path / "indexes")}}
    place = index_folder(topic, IndexSettings(directory=str(tmp_path / "indexes")))

    def embedded(root, **how):
        encoder = Counting.made()
        for one in open_roots([root], encoder, overrides, **how):
            one.store.close()
        return encoder.embedded

    whole = embedded(main)
    with pytest.raises(ConfigError, match="is not indexed yet"):
        embedded(topic, look_only=True)
    assert not place.exists()
    assert embedded(topic) == 1 and embedded(topic) == 0
    shutil.rmtree(place)
    assert embedded(topic, rebuild=True) >= whole - 1 > 1


def test_places_that_are_no_paths_are_passed_over(tmp_path):
    main, topic = two_worktrees(tmp_path)
    for name, place in (("a", "/" + "a" * 300), ("b", "a\0b")):
        (main / ".git" / "worktrees" / name).mkdir()
        (main / ".git" / "worktrees" / name / "gitdir").write_text(f"{place}/.git\n")
    assert list(worktrees(main)) == [topic]
    for text in ("gitdir: a\0b\n", "gitdir: " + "a" * 300 + "\n"):
        (topic / ".git").write_text(text)
        assert list(worktrees(topic)) == []
