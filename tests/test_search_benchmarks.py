"""Short runs of the benchmarks that say where search fails and what an agent must read, on a few files."""

import json
import os
import re
import shlex
import sys
from pathlib import Path

import agent_tokens
import cascade_latency
import failures
import fit_cascade
import fit_documents
import fit_fusion
import fit_share
import indexing
import newcomer
import numpy as np
import peer_grep
import pytest
import scale
from biencoders import write_biencoder
from commands import dowse
from crossencoders import write_crossencoder
from labelling import rows, write_pairs
from measure import UNHURRIED_MS
from source_tree import write_tree
from sources import FILES, write_files

from dowse import Searcher
from dowse.evaluate.annotated import Score
from dowse.index.update import BYTES_A_PROCESS
from dowse.models.biencoder import BiEncoder
from dowse.records import cores

REPOSITORY = {"name": "shop", "language": "python", "url": "https://example.org/shop", "revision": "0" * 40}
ANNOTATIONS = [
    {"query": "retry a failed upload", "relevant": ["src/upload/client.py"], "secondary": [], "category": "semantic"},
    {"query": "applyDiscount", "relevant": ["nowhere/cart.ts"], "secondary": ["web/cart.ts"], "category": "symbol"},
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a benchmark of one repository, and its checkout."""
    place = tmp_path_factory.mktemp("annotated")
    write_files(place / "checkouts/shop", FILES)
    write_files(
        place / "data",
        {"repos.json": json.dumps([REPOSITORY]), "annotations/shop.json": json.dumps(ANNOTATIONS)},
    )
    return place


def record(main, place, monkeypatch):
    """Run a benchmark's command line, and return the figures it wrote."""
    folders = {name: str(place / name) for name in ("checkouts", "data", "indexes", "results")}
    options = [option for name in ("data", "indexes", "results") for option in (f"--{name}", folders[name])]
    monkeypatch.setattr(sys, "argv", ["benchmark", folders["checkouts"], *options])
    main()
    (written,) = (place / "results").glob("*.json")
    figures = json.loads(written.read_text())["figures"]
    written.unlink()
    return figures


def test_a_failed_query_is_listed_with_the_step_that_lost_each_target_and_no_code(place, monkeypatch):
    figures = record(failures.main, place, monkeypatch)
    assert figures["lost targets"] == {"index": 1, "candidates": 0, "evidence": 0, "fusion": 0, "order": 0}
    (row,) = figures["queries"]
    assert row["query"] == "shop/1" and row["got"][0].startswith("web/cart.ts:")
    assert row["expected"] == [
        {"target": "nowhere/cart.ts", "rank": None, "lost by": "index"},
        {"target": "web/cart.ts", "rank": 1, "lost by": None},
    ]
    assert "return" not in json.dumps(figures)


def test_a_target_is_reached_where_the_text_within_the_budget_names_it(place, monkeypatch):
    shares = record(agent_tokens.main, place, monkeypatch)["share of targets"]
    assert shares["dowse"] == {"within 1,000": 2 / 3, "within 2,000": 2 / 3, "within 4,000": 2 / 3, "targets": 3}
    assert shares["grep and read"]["within 4,000"] == 2 / 3


def test_grep_ranks_files_by_the_lines_that_hold_a_word(place):
    tree = peer_grep.build({}, place / "checkouts/shop", place)
    path, start, end = peer_grep.search(tree, "retry_upload", 3)[0]
    assert path in ("src/upload/client.py", "tests/test_client.py")
    assert (start, end) == (1, len((place / "checkouts/shop" / path).read_text().split("\n")))
    assert peer_grep.search(tree, "zzz_nowhere", 3) == []


def two_repositories(place, monkeypatch, name, **options):
    """Write a benchmark of two repositories with a question each, and set the command line of what fits on it."""
    names, annotated = ("shop", "kiosk"), json.dumps([ANNOTATIONS[1] | {"relevant": ["web/cart.ts"], "secondary": []}])
    for repository in names:
        write_files(place / "checkouts" / repository, FILES)
        write_files(place / "data", {f"annotations/{repository}.json": annotated})
    write_files(place / "data", {"repos.json": json.dumps([REPOSITORY | {"name": one} for one in names])})
    options |= {folder: place / folder for folder in ("data", "checkouts", "indexes", "results")}
    words = [word for option, value in options.items() for word in (f"--{option}", str(value))]
    monkeypatch.setattr(sys, "argv", [name, *words])


def test_measuring_the_fusion_writes_weights_only_where_it_is_told(tmp_path, monkeypatch):
    shipped = tmp_path / "shipped.json"
    shipped.write_bytes(fit_fusion.SHIPPED.read_bytes())
    before = json.loads(shipped.read_text())
    monkeypatch.setattr(fit_fusion, "SHIPPED", shipped)
    monkeypatch.setattr(fit_fusion, "BOOSTS", fit_fusion.BOOSTS[:1])
    two_repositories(tmp_path, monkeypatch, "fit_fusion")
    fit_fusion.main()
    assert json.loads(shipped.read_text()) == before
    assert len(list((tmp_path / "results").glob("fusion-*.json"))) == 1
    two_repositories(tmp_path, monkeypatch, "fit_fusion", weights=tmp_path / "fitted.json")
    fit_fusion.main()
    assert json.loads(shipped.read_text()) == before
    stages = json.loads((tmp_path / "fitted.json").read_text())["stages"]
    assert stages["retriever"] == before["stages"]["retriever"] and stages["instant"] != before["stages"]["instant"]


def test_a_setting_is_chosen_on_the_repositories_that_it_is_not_measured_on():
    """The first setting is the best in all, .5 to .4, and the best without the shop is the second."""

    def tried(shop, kiosk):
        return fit_fusion.Tried(0.001, 4.0, {}, [Score("shop", "", shop), Score("kiosk", "", kiosk)])

    settings = [tried(1.0, 0.0), tried(0.2, 0.6)]
    assert [one.mean for one in settings] == pytest.approx([0.5, 0.4])
    assert fit_fusion.nested(settings) == [Score("shop", "", 0.2), Score("kiosk", "", 0.0)]


def test_the_rankers_share_is_measured_in_orders_that_were_fitted_on_other_repositories(tmp_path, monkeypatch):
    two_repositories(tmp_path, monkeypatch, "fit_share", ranker=write_crossencoder(tmp_path / "ranker"))
    fit, fitted_on = fit_fusion.fit, []

    def spy(rows, penalty):
        """What is fitted on the kiosk, and so is the shop's, has what speaks for a document speak against it."""
        fitted_on.append({row.repository for row in rows})
        sign = -1 if fitted_on[-1] == {"kiosk"} else 1
        return {kind: sign * weights for kind, weights in fit(rows, penalty).items()}

    monkeypatch.setattr(fit_fusion, "fit", spy)
    fit_share.main()
    assert fitted_on == [{"kiosk"}, {"shop"}]
    (written,) = (tmp_path / "results").glob("share-of-the-ranker-after-retriever-*.json")
    figures = json.loads(written.read_text())["figures"]
    measured = {"best_share", "without_ranker", "each_with_the_share_of_the_others", "by_share", "gain"}
    assert set(figures) == measured
    gain = figures["each_with_the_share_of_the_others"] - figures["without_ranker"]
    assert figures["gain"]["value"] == pytest.approx(gain)
    assert len(figures["by_share"]) == 21
    assert 0.5 <= figures["without_ranker"] < 0.9, "the kiosk's question is answered first, the shop's last"


def test_a_gain_is_drawn_anew_over_questions_within_repositories_and_over_repositories():
    """One repository gains .5 and 0, three times; the other .2 every time: the mean is .225."""
    gains = [("shop", 0.5), ("shop", 0.0)] * 3 + [("kiosk", 0.2)] * 4
    before = [Score(name, "", 0.1) for name, _ in gains]
    after = [Score(name, "", 0.1 + gain) for name, gain in gains]
    found = fit_share.paired(before, after)
    assert found["value"] == pytest.approx(0.225)
    # Of other repositories there may be one kind alone; other questions change the shop's half of the mean alone.
    assert (found["low, other repositories"], found["high, other repositories"]) == pytest.approx((0.2, 0.25))
    draws = np.random.default_rng(1).choice([0.5, 0.0] * 3, (100_000, 6)).mean(axis=1)
    expected = 0.1 + np.percentile(draws, [2.5, 97.5]) / 2
    assert (found["low, other questions"], found["high, other questions"]) == pytest.approx(tuple(expected), abs=1e-6)


def test_the_newcomers_clock_follows_every_block_of_the_readme_that_it_does_not_name_as_left_out():
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    found = newcomer.blocks(readme)
    shown = re.findall(r"^```\w*\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert sorted([*found.values(), *(one for one in shown if one.startswith(newcomer.LEFT_OUT))]) == sorted(shown)
    assert [command.split()[0] for command in newcomer.commands(found["serving"])] == ["pip", "dowse", "dowse"]
    assert newcomer.commands(found["asking"])[-1] == "dowse --install-completion"
    assert newcomer.blocks(readme.replace("top_k=3'", "top_k=4'"))["curl"].endswith("top_k=4'\n")


def test_what_the_newcomer_is_told_to_ask_is_found_in_the_folders_that_are_made_up(tmp_path, monkeypatch):
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    found = newcomer.blocks(readme)
    monkeypatch.chdir(newcomer.made_up(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    for command in newcomer.commands(found["asking"])[:5]:
        done = dowse(*map(os.path.expanduser, shlex.split(command)[1:]))
        assert done.returncode == 0 and done.stdout, command


def test_a_model_that_forgets_embeds_the_same_documents_for_the_same_question(tmp_path):
    root = write_files(tmp_path / "project", FILES)
    model = cascade_latency.Forgetful(BiEncoder.load(write_biencoder(tmp_path / "retriever")))
    with Searcher.open([root], {"search": {"budget_ms": UNHURRIED_MS, "ranker": "off"}}) as plain:
        searcher = Searcher(plain.roots, plain.encoder, retriever=model)
        counts = []
        for is_cold in (True, False, True):
            if is_cold:
                model.forget()
            cascade_latency.stage_times(searcher, ["retry a failed upload"], 5)
            counts.append(model.embedded)
    assert counts[0] > 0 and counts == [counts[0], counts[0], 2 * counts[0]]


def test_the_cascade_is_timed_cold_and_warm(tmp_path, monkeypatch):
    retriever, ranker = write_biencoder(tmp_path / "retriever"), write_crossencoder(tmp_path / "ranker")
    options = {"--retriever": retriever, "--ranker": ranker, "--sizes": 60, "--queries": 4, "--cold-queries": 3}
    options |= {"--candidates": 12, "--sample": 8, "--threads": 1, "--results": tmp_path / "results"}
    words = [str(word) for pair in options.items() for word in pair]
    monkeypatch.setattr(sys, "argv", ["cascade_latency", *words])
    cascade_latency.main()
    (written,) = (tmp_path / "results").glob("cascade-latency-*.json")
    record = json.loads(written.read_text())
    figures = record["figures"]["60 functions"]
    assert record["settings"]["threads"] == 1 and record["settings"]["top_k"] == 12
    assert figures["pairs_read"] == 12, "as many hits are asked for as may be read, so all of these are read"
    for stage in ("instant", "retriever", "ranker", "cascade"):
        assert 0 < figures[f"{stage}_p50_ms"] <= figures[f"{stage}_p95_ms"]
        assert figures[f"cold_{stage}_p50_ms"] <= figures[f"cold_{stage}_p95_ms"]


def test_what_a_ranker_reads_is_fitted_on_dev_and_measured_on_test(tmp_path, monkeypatch):
    splits = [pair | {"split": ("dev", "test")[at % 2]} for at, pair in enumerate(rows(count=24))]
    pairs = write_pairs(tmp_path / "pairs", splits)
    ranker = write_crossencoder(tmp_path / "ranker")
    options = ["--pairs", str(pairs), "--retriever", "static", "--results", str(tmp_path / "results")]
    monkeypatch.setattr(sys, "argv", ["fit_cascade", str(ranker), *options])
    fit_cascade.main()
    (written,) = (tmp_path / "results").glob("cascade-ranker-*.json")
    record = json.loads(written.read_text())
    grid = record["figures"]["dev, by candidates and share"]["mined dev"]
    best = max(value for shares in grid.values() for value in shares.values())
    assert record["figures"]["dev"]["mined dev"]["with the ranker"] == best
    chosen = grid[str(record["settings"]["candidates"])][str(record["settings"]["share"])]
    assert chosen == best
    test = record["figures"]["test"]["mined test"]
    assert test["queries"] == test["documents"] == 12
    assert test["difference"]["value"] == pytest.approx(test["with the ranker"] - test["retriever"])


def test_an_index_is_timed_by_one_process_and_by_several_and_after_one_file_of_it_was_saved(tmp_path, monkeypatch):
    folder = write_files(tmp_path / "project", FILES)
    write_tree(folder / "large", 4_600)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setattr(sys, "argv", ["indexing", str(folder), "--rounds", "1", "--results", str(tmp_path / "results")])
    indexing.main()
    (written,) = (tmp_path / "results").glob("indexing-*.json")
    figures = json.loads(written.read_text())["figures"]["project"]
    assert figures["documents"] > 0 and figures["ratio"] == figures["several_s"] / figures["alone_s"]
    assert figures["mb"] * 2**20 > 2 * BYTES_A_PROCESS and figures["one_file_changed_ms"] > 0
    if cores() > 1:
        assert figures["several_peak_rss_mb"] > figures["alone_peak_rss_mb"]
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_searcher_is_measured_on_the_same_tree_with_the_same_queries(tmp_path, monkeypatch):
    peer = tmp_path / "peer_semble.py"  # what annotated.py measures Dowse by, in the place of the peer's own child
    peer.write_text((Path(scale.HERE) / "annotated_dowse.py").read_text())
    monkeypatch.setattr(scale, "HERE", tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(indexing.__file__).parent), *sys.path]))
    write_tree(tmp_path / "tree", 30)
    figures = scale.beside((sys.executable, tmp_path / "model"), tmp_path / "tree")
    assert figures["semble_documents"] == 30 and min(figures.values()) > 0
    monkeypatch.setattr(sys, "argv", ["scale", "--peer-python", sys.executable, "--peer-model", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"error: --peer-model is .*, expected a model2vec folder"):
        scale.main()


def test_which_document_of_a_file_answers_is_fitted_and_measured_without_what_was_said_of_it(tmp_path, monkeypatch):
    pairs = []
    for name, split in (("owner/one", "dev"), ("owner/two", "dev"), ("owner/three", "test")):
        files = {}
        for pair in rows(name, 12):
            lines = files.setdefault(pair["path"], [])
            pairs.append(pair | {"commit": "", "split": split, "start_line": len(lines) + 1})
            lines += [*pair["text"].split("\n"), ""]
        write_files(tmp_path / "mirror" / name, {path: "\n".join(lines) for path, lines in files.items()})
        pairs[-1] |= {"source": "classes"}
    folder = write_pairs(tmp_path / "pairs", pairs)
    command = ["fit_documents", "--pairs", folder, "--mirror", tmp_path / "mirror", "--results", tmp_path / "results"]
    monkeypatch.setattr(sys, "argv", [*map(str, command), "--weights", str(tmp_path / "weights.json")])
    fit_documents.main()
    (written,) = (tmp_path / "results").glob("documents-*.json")
    figures = json.loads(written.read_text())["figures"]
    asked = {
        split: {kind: of["questions"] for kind, of in figures[split].items()} for split in ("dev, left out", "test")
    }
    assert asked == {"dev, left out": {"functions": 6, "classes": 2}, "test": {"functions": 3, "classes": 1}}
    assert figures["dev, left out"]["functions"]["brought up"] == 1
    kept = json.loads((tmp_path / "weights.json").read_text())
    assert (
        kept["within"] == figures["weights"] and kept["stages"] == json.loads(fit_fusion.SHIPPED.read_text())["stages"]
    )
