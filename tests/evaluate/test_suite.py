"""One benchmark, all its rows: retrievers, cascades, the search, baselines, variants."""

import json
import shutil
import time
import weakref
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from evaluating import LetterRanker, WordEncoder, small_task
from labelling import cross_encoder, rows, write_pairs

import dowse
from dowse.errors import ConfigError, DataError
from dowse.evaluate.cascade import Scored
from dowse.evaluate.catalogue import LOADERS, TaskOptions, default_metrics, load_tasks
from dowse.evaluate.harness import METRICS, evaluate, measure
from dowse.evaluate.latency import ranker_ms, retriever_ms
from dowse.evaluate.suite import Plan, measure_all
from dowse.evaluate.summary import metrics_of, record
from dowse.models.cascade import AVERAGE, REPLACE
from dowse.search.searcher import Searcher


@contextmanager
def opened(tree, index):
    with Searcher.open([tree], {"index": {"directory": str(index)}}) as searcher:
        yield searcher


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    """Twenty functions of one repository, all in the test split."""
    found = [pair | {"split": "test"} for pair in rows(count=20)]
    return TaskOptions("mined", write_pairs(tmp_path_factory.mktemp("mined") / "pairs", found))


def test_a_retriever_with_baselines_and_variants(mined, tmp_path):
    plan = Plan("static", baselines=("bm25",), variants=("masked", "typos"), cache=tmp_path / "cache")
    told = []
    measured = measure_all(mined, plan, told=lambda *news: told.append(news))
    result = measured.result
    assert (result["name"], result["queries"], result["documents"]) == ("static", 20, 20)
    assert metrics_of(result) == list(METRICS)
    assert result["mrr@10"] == measure(measured.tasks[0], measured.runs[0]).means["mrr@10"] > 0.5
    assert [row["name"] for row in result["baselines"]] == ["bm25"]
    assert [row["name"] for row in result["variants"]] == ["masked", "typos"]
    assert result["variants"][0]["mrr@10"] < result["mrr@10"]
    assert result["query_ms"] > 0 and "query_ms" not in result["baselines"][0]
    low, high = result["intervals"]["mrr@10"]
    assert low <= result["mrr@10"] <= high
    assert result["by_language"]["python"]["queries"] == 20 and (tmp_path / "cache").is_file() and told
    (behind,) = result["baselines"][0]["behind_by"].values()
    lead = result[metrics_of(result)[0]] - result["baselines"][0][metrics_of(result)[0]]
    assert behind[metrics_of(result)[0]] == pytest.approx(lead) and behind["low"] <= lead <= behind["high"]
    figures = record(result)[0]
    assert figures["behind_by"] == {"bm25": behind}
    assert set(figures["by_language"]) == {"static", "bm25", "masked", "typos"}
    assert figures["by_language"]["bm25"]["python"]["mrr@10"] == pytest.approx(result["baselines"][0]["mrr@10"])
    assert TaskOptions.from_json(json.loads(json.dumps(result["task"]))) == mined


def test_exported_models_are_called_as_their_training_and_two_rows_of_one_name_are_refused(mined, tmp_path):
    for name in ("one", "two"):
        shutil.copytree(Path(dowse.__file__).parent / "models/default/static", tmp_path / name / "int8")
    folders = [str(tmp_path / name / "int8") for name in ("one", "two", "two")]
    result = measure_all(mined, Plan(folders[0], baselines=(folders[1],), time_queries=False)).result
    assert [result["name"], result["baselines"][0]["name"]] == ["one", "two"]
    with pytest.raises(ConfigError, match="two rows would be called 'two'"):
        measure_all(mined, Plan(folders[0], baselines=tuple(folders[1:])))


def test_a_cascade_says_what_its_retriever_does_alone_and_what_each_k_brings(mined, tmp_path):
    ranker = str(cross_encoder(tmp_path / "ranker"))
    plan = Plan("static", ranker, AVERAGE, n_candidates=3, metrics=("mrr@10",))
    result = measure_all(mined, replace(plan, baselines=("static",), variants=("masked",))).result
    assert result["baselines"][0]["mrr@10"] == pytest.approx(result["retriever_alone"]["mrr@10"])
    masked = measure_all(replace(mined, variant="masked"), plan).result
    assert result["variants"][0]["mrr@10"] == masked["mrr@10"], "a variant is measured on the whole cascade"
    alone = measure_all(mined, Plan("static", metrics=("mrr@10",), time_queries=False)).result
    assert result["name"] == "static + ranker" and result["ranker_share"] == 0.5 and result["candidates"] == 3
    assert result["retriever_alone"]["mrr@10"] == pytest.approx(alone["mrr@10"])
    assert result["k_curve"]["0"] == result["k_curve"]["1"] == pytest.approx(alone["mrr@10"])
    assert result["k_curve"]["3"] == pytest.approx(result["mrr@10"])
    assert metrics_of(result) == ["mrr@10"] and "query_ms" not in alone


def test_the_whole_search_is_measured_where_it_is_lent(mined):
    result = measure_all(mined, Plan(use_searcher=True), open_searcher=opened).result
    assert result["name"] == "searcher" and result["unindexed"] == 0 and result["mrr@10"] > 0.5
    with pytest.raises(ConfigError, match="no searcher was lent"):
        measure_all(mined, Plan(use_searcher=True))


def test_several_tasks_are_averaged_and_given_by_themselves(tmp_path):
    for language, count in (("ruby", 2), ("javascript", 4), ("go", 2), ("python", 2), ("java", 2), ("php", 2)):
        (tmp_path / language).mkdir()
        entries = [
            {"code_tokens": ["def", word], "docstring_tokens": [word, "it"], "url": f"https://e/{language}/{word}"}
            for word in ("sort", "merge", "close", "upload")[:count]
        ]
        for name in ("test", "codebase"):
            (tmp_path / language / f"{name}.jsonl").write_text("\n".join(map(json.dumps, entries)))
    options = TaskOptions("codesearchnet", tmp_path, allow_partial=True)
    result = measure_all(options, Plan("static", time_queries=False)).result
    assert len(result["tasks"]) == 6 and result["queries"] == 14 and set(result["by_language"]) >= {"ruby", "php"}
    assert result["mrr@10"] == pytest.approx(sum(task["mrr@10"] for task in result["tasks"].values()) / 6)
    compared = measure_all(options, Plan("static", baselines=("bm25",), time_queries=False)).result
    assert set(record(compared)[0]["behind_by"]) == {f"bm25, {task}" for task in result["tasks"]}


def test_benchmarks_are_found_by_name_and_sampled(mined):
    with pytest.raises(ConfigError, match="no benchmark 'cosca'; did you mean 'cosqa'"):
        load_tasks(TaskOptions("cosca", Path()))
    sampled = load_tasks(TaskOptions("mined", mined.data, queries=5))[0]
    assert len(sampled.queries) == 5 and len(sampled.corpus) == 20
    assert default_metrics("codenet") == ("map",) and default_metrics("cosqa") == METRICS
    assert "challenge" in LOADERS and default_metrics("challenge")[0] == "ndcg@300"
    with pytest.raises(DataError, match="the run's task is not readable"):
        TaskOptions.from_json({"benchmark": "cosqa"})


def test_every_benchmark_reads_its_own_files_from_the_folder(tmp_path):
    for name in sorted(LOADERS):
        with pytest.raises((DataError, ConfigError), match=str(tmp_path)):
            load_tasks(TaskOptions(name, tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("benchmark", "said", "flag"),
    [
        ("cosqa", {"language": "python"}, "--language"),
        ("codesearchnet", {"source": "docstrings"}, "--source"),
        ("advtest", {"same_repository": True}, "--same-repository"),
        ("staqc", {"without_docstrings": True}, "--no-docstrings"),
        ("challenge", {"split": "dev"}, "--split"),
        ("codenet", {"split": "dev"}, "--split"),
        ("beir", {"repositories": ("owner/one",)}, "--repository"),
        ("mined", {"allow_partial": True}, "--allow-partial"),
        ("cosqa", {"protocol": "csn"}, "--protocol"),
    ],
)
def test_an_option_that_a_benchmark_would_drop_is_refused(tmp_path, benchmark, said, flag):
    with pytest.raises(ConfigError, match=flag):
        load_tasks(TaskOptions(benchmark, tmp_path, **said))


def test_one_language_of_mined_pairs_is_asked_for(mined):
    assert load_tasks(replace(mined, language="python"))[0].name == "mined python test"
    with pytest.raises(DataError, match="no mined go test queries"):
        load_tasks(replace(mined, language="go"))


def test_wrong_names_are_found_before_anything_is_read_or_measured(tmp_path):
    nowhere = TaskOptions("mined", tmp_path / "nowhere")
    for plan, fault in ((Plan(metrics=("mrr", "auc")), "metric 'auc'"), (Plan(variants=("maskd",)), "variant 'maskd'")):
        with pytest.raises(ConfigError, match=fault):
            measure_all(nowhere, plan)


def test_a_cascades_curve_holds_the_runs_of_one_k_and_a_variant_is_measured_once(mined, tmp_path, monkeypatch):
    alive, made, most = [], 0, 0
    plain = Scored.cascade

    def cascade(self, name, combination=REPLACE, k=None):
        nonlocal made, most
        run = plain(self, name, combination, k)
        made += 1
        alive.append(weakref.ref(run))
        most = max(most, sum(each() is not None for each in alive))
        return run

    monkeypatch.setattr(Scored, "cascade", cascade)
    ranker = str(cross_encoder(tmp_path / "ranker"))
    plan = Plan("static", ranker, n_candidates=5, metrics=("mrr@10",), time_queries=False, variants=("typos",))
    result = measure_all(mined, plan).result
    assert len(result["k_curve"]) == 6
    assert made == 5 + 2, "the first row's curve, and a cascade for it and for the variant"
    assert most <= 3, "the first row's run, and at most two of its curve"


def test_times_are_those_of_the_encoder_and_the_ranker(mined):
    task = load_tasks(mined)[0]
    encoder, ranker = WordEncoder(), LetterRanker()
    encode, rank = encoder.encode_queries, ranker.score
    encoder.encode_queries = lambda texts: (time.sleep(0.02), encode(texts))[1]
    ranker.score = lambda query, texts: (time.sleep(0.03), rank(query, texts))[1]
    run = evaluate(task, encoder)
    assert retriever_ms(task, encoder) >= 20 and ranker_ms(task, ranker, run, 3) >= 30


def test_the_ranker_is_timed_on_what_the_retriever_found_for_each_query():
    task, read = small_task(), {}

    class Reading(LetterRanker):
        def score(self, query, texts):
            read[query] = list(texts)
            return super().score(query, texts)

    run = evaluate(task, WordEncoder())
    ranker_ms(task, Reading(), run, 2)
    assert read == {task.queries[q]: [task.texts[d] for d in run.rankings[q].document_ids[:2]] for q in task.queries}
