import pytest

from dowse.serve.brief import N_WITH_CODE, cut_text, document_text, estimated_tokens, hits_text, n_hits


def hit(number, lines):
    text = "\n".join(f"    value_{n} = compute({n})" for n in range(lines))
    place = {"repository": "shop", "path": f"src/m{number}.py", "start_line": 10, "end_line": 9 + lines}
    return place | {"kind": "function", "symbol": f"f{number}", "text": text}


def answer(*hits):
    return {"hits": list(hits), "index": {"documents": 1234, "fresh": True, "notes": []}}


def test_tokens_are_estimated_near_what_models_count():
    assert estimated_tokens("") == 0
    assert estimated_tokens("getUserName") == 3
    assert estimated_tokens("12345") == 2
    assert estimated_tokens("a\n            b") == 3
    assert estimated_tokens("你好") == 2


@pytest.mark.parametrize("budget", [100, 150, 300, 700, 2_000, 10_000])
def test_hits_keep_to_their_budget_places_first(budget):
    text = hits_text(answer(*(hit(n, 20) for n in range(6))), budget)
    assert estimated_tokens(text) <= budget + 40  # the lines that say what was cut
    assert text.startswith("6 hits in 1,234 documents, up to date\n\n1. shop: src/m0.py:10-29 function f0")
    assert ("6. shop: src/m5.py" in text) or "raise budget_tokens" in text


def test_an_answer_without_a_number_of_hits_shows_eight_and_names_more():
    found = answer(*(hit(n, 20) for n in range(n_hits(2_000))))
    text = hits_text(found, 2_000, N_WITH_CODE)
    *_, shown, named = text.split("\n\n")
    assert shown.startswith("8. shop: src/m7.py:10-29 function f7\n    value_0 = ")
    assert named.split("\n") == [f"{n + 1}. shop: src/m{n}.py:10-29 function f{n}" for n in range(8, n_hits(2_000))]
    assert estimated_tokens(text) <= 2_000 + 40  # the lines that say what was cut
    assert n_hits(1_000) < n_hits(2_000)


def test_what_is_cut_of_a_hit_says_where_it_goes_on():
    text = hits_text(answer(hit(0, 20)), 150)
    shown = text.split("\n\n")[1].split("\n")
    kept = len(shown) - 2
    assert 0 < kept < 20
    assert shown[-1] == f"… {20 - kept} more lines from {10 + kept}"
    whole = hits_text(answer(hit(0, 20)), 5_000)
    assert whole.endswith("value_19 = compute(19)") and "…" not in whole


def test_no_hits_and_a_stale_index_are_said():
    text = hits_text({"hits": [], "index": {"documents": 0, "fresh": False, "notes": ["being indexed"]}}, 500)
    assert text.startswith("no hits; use other words") and text.endswith("perhaps behind: being indexed")


def test_a_document_that_does_not_fit_says_where_to_read_on():
    lines = "\n".join(f"line {n}" for n in range(5, 105))
    document = {"repository": "shop", "path": "a.py", "first_line": 5, "text": lines, "total_lines": 200}
    document |= {"language": "python", "as_indexed": False}
    text = document_text(document, 60)
    head, *body = text.split("\n")
    assert head == "shop: a.py:5-104 of 200 lines, python, changed since it was indexed"
    assert body[-1] == f"… cut here; read on with start_line={5 + len(body) - 1} or raise budget_tokens"
    assert body[0] == "line 5"
    assert cut_text("a\nb", 0, "on {next}", 7) == "a\non 8"
    assert cut_text("a\nb", 0, "") == ""
    cut, said, on = cut_text(f"{'word ' * 1_000}\nb", 100, "on {next}", 7).split("\n")
    assert 80 <= estimated_tokens(cut) <= 120 and "raise budget_tokens" in said and on == "on 8"


def test_the_names_of_files_hide_nothing_from_agents():
    found = hit(1, 2) | {"path": "src/a\u202eyp.exe\U000e0041"}
    assert "1. shop: src/a<202e>yp.exe<e0041>:10-11 function f1\n" in hits_text(answer(found), 500)
