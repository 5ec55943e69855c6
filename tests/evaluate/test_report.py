"""The report in a real browser: tables and plots that can be read, from one file, offline."""

import json

import numpy as np
import pytest
from labelling import rows, write_pairs
from pages import opened_browser
from PIL import Image

from dowse.errors import DataError
from dowse.evaluate.report import Further, read_labels, read_log, write_report
from dowse.label.pipeline import label_pairs
from dowse.label.settings import LabelSettings


def measured(name, mrr, **others):
    return {
        "name": name,
        "queries": 500,
        "documents": 6267,
        "mrr@1000": mrr,
        "recall@100": 0.9,
        "intervals": {"mrr@1000": [mrr - 0.03, mrr + 0.03], "recall@100": [0.88, 0.92]},
        "by_language": {"go": {"mrr@1000": mrr + 0.1}, "python": {"mrr@1000": mrr - 0.1}},
        "by_category": {"symbol": {"mrr@1000": mrr}, "semantic": {"mrr@1000": mrr / 2}},
    } | others


RESULT = {
    "benchmark": "cosqa <b>",
    "split": "test",
    "protocol": "oasis",
    **measured("ours & theirs", 0.55, query_ms=4.0, k_curve={"0": 0.4, "1": 0.4, "2": 0.5, "3": 0.55}),
    "baselines": [measured("bm25", 0.33), measured("base", 0.5, query_ms=9.0)],
    "variants": [measured("masked", 0.3)],
}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report with everything in it."""
    place = tmp_path_factory.mktemp("report")
    pairs = write_pairs(place / "pairs", rows(count=40))
    label_pairs(pairs, place / "labelled", LabelSettings(encoder="static", workers=1))
    log = place / "model" / "training.json"
    log.parent.mkdir()
    log.write_text(json.dumps({"log": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}, {"train_runtime": 3}]}))
    write_report(place / "report.html", RESULT, Further(place / "labelled", (log,), place / "png"))
    return place / "report.html"


def test_a_browser_shows_every_table_and_plot_without_asking_for_anything_else(report):
    asked, failed = [], []
    with opened_browser() as browser:
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: failed.append(error))
        page.on("console", lambda message: failed.append(message.text) if message.type == "error" else None)
        page.goto(report.as_uri())
        assert asked == [report.as_uri()] and failed == []
        assert page.title() == "cosqa <b>, test"
        assert page.locator("h2").all_inner_texts() == ["Results", "Robustness"]
        cells = page.locator("table").first.locator("tr").nth(1).locator("td").all_inner_texts()
        assert cells[0] == "ours & theirs" and cells[1].split() == ["0.550", "0.520–0.580"] and cells[-1] == "4.0"
        figures = page.locator("figure svg[role=img]")
        names = page.locator("figure").evaluate_all("all => all.map(one => one.id)")
        assert names == ["rows", "latency", "languages", "kinds", "candidates", "variants", "labels", "training"]
        for number in range(figures.count()):
            box = figures.nth(number).bounding_box()
            assert 300 < box["width"] <= 1100 and box["height"] > 60
        assert "bm25" in page.locator("#rows svg").text_content()
        ids = page.locator("svg [id]").evaluate_all("all => all.map(one => one.id)")
        assert len(ids) == len(set(ids)) > 100
        page.set_viewport_size({"width": 420, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 420
        drawn = page.locator("#rows").screenshot()
    assert len(drawn) > 1000


def test_the_plots_are_also_pictures_that_are_not_blank(report):
    pictures = sorted((report.parent / "png").iterdir())
    assert len(pictures) == 8
    for path in pictures:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L"))
        assert pixels.shape[0] > 200 and pixels.std() > 5


def test_a_report_of_one_row_has_no_empty_plots(tmp_path):
    bare = {key: value for key, value in measured("one", 0.5).items() if not key.startswith("by_")}
    write_report(tmp_path / "deep" / "r.html", {"benchmark": "beir", "split": "test", "protocol": "oasis", **bare})
    page = (tmp_path / "deep" / "r.html").read_text()
    assert page.count("<figure") == 1 and "Robustness" not in page


def test_tasks_of_several_languages_have_a_table_of_their_own(tmp_path):
    tasks = {"csn go": measured("x", 0.4), "csn php": measured("x", 0.6)}
    write_report(tmp_path / "r.html", RESULT | {"tasks": tasks})
    page = (tmp_path / "r.html").read_text()
    assert "By task" in page and "csn php" in page


def test_logs_and_labels_are_read_or_refused(tmp_path, report):
    lines = tmp_path / "log.jsonl"
    lines.write_text('{"step": 1, "loss": 0.5}\n{"note": "x"}\n')
    assert read_log(lines) == [(1.0, 0.5)]
    (tmp_path / "empty.json").write_text("[]")
    (tmp_path / "torn.jsonl").write_text('{"step": 1')
    faults = [("gone.json", "check --training"), ("gone.jsonl", "check --training"), ("torn.jsonl", "check --training")]
    for path, fault in [(tmp_path / "empty.json", "no entry has both"), *((tmp_path / n, said) for n, said in faults)]:
        with pytest.raises(DataError, match=fault):
            read_log(path)
    labels = read_labels(report.parent / "labelled")
    assert set(labels) == {"positive", "random"} and len(labels["random"]) == 40 * 7
    assert all(((values >= 0) & (values <= 1)).all() for values in labels.values())
