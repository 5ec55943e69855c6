"""The page in a real browser: asking, reading hits, and code that would like to run."""

import re
import threading
from urllib.parse import parse_qs, urlsplit

from pages import ask, first_hit, settled, symbols
from playwright.sync_api import expect
from servers import PATIENCE_S
from sources import FILES, write_files

from dowse.errors import ModelError
from dowse.search.only import EVERYTHING
from dowse.search.searcher import Searcher
from dowse.serve.display import visible

UPLOAD = "retry a failed upload"


class TwoStages(Searcher):
    """A searcher whose second stage puts short documents first, once it may go on."""

    STAGES = ("instant", "reranked")
    go_on = threading.Event()

    @staticmethod
    def has_later_stages(settings, mode=None):
        return True

    def stages(self, query, top_k=10, only=EVERYTHING, mode=None):
        _, hits = next(super().stages(query, top_k, only))
        yield "instant", hits
        assert self.go_on.wait(PATIENCE_S)
        yield "reranked", sorted(hits, key=lambda hit: len(hit.document.text))


class Backwards(Searcher):
    """A searcher whose second stage turns the best fifty hits round."""

    STAGES = ("instant", "reranked")

    @staticmethod
    def has_later_stages(settings, mode=None):
        return mode is None

    def stages(self, query, top_k=10, only=EVERYTHING, mode=None):
        _, hits = next(super().stages(query, 50, only))
        yield "instant", hits[:top_k]
        yield "reranked", hits[::-1][:top_k]


class Failing(Backwards):
    """A searcher whose second stage cannot answer."""

    def stages(self, query, top_k=10, only=EVERYTHING, mode=None):
        yield next(super().stages(query, top_k, only))
        raise ModelError("the model is gone; install it again")


def test_hits_come_while_typing_highlighted_and_with_the_matching_lines_marked(page):
    page.keyboard.type(UPLOAD)  # the box has the focus from the beginning
    hit = first_hit(page)
    expect(hit.locator(".place")).to_have_text("shop / src/upload/client.py:14–21")
    expect(hit.locator(".nf")).to_have_text("retry_upload")
    assert hit.locator(".match").count() >= 2
    expect(hit.locator(".line").first).to_have_attribute("data-line", "14")
    expect(page.locator("#summary")).to_contain_text("hit")
    assert page.title() == f"{UPLOAD} · dowse"
    assert parse_qs(urlsplit(page.url).query) == {"q": [UPLOAD]}


def test_what_was_asked_is_in_the_history(page):
    ask(page, UPLOAD)
    page.locator("#language").select_option("go")
    expect(page.locator("#hits .symbol").first).to_contain_text("Router")
    page.go_back()
    first_hit(page)
    expect(page.locator("#language")).to_have_value("")
    page.go_back()
    expect(page.locator("#start")).to_be_visible()
    expect(page.locator("#q")).to_have_value("")
    page.go_forward()
    first_hit(page)


def test_a_late_answer_to_an_older_question_is_dropped(new_page, server):
    page = new_page(server)
    held = []
    page.route(lambda url: "q=parse" in url, lambda route: held.append(route))
    with page.expect_request(lambda request: "q=parse" in request.url):
        page.locator("#q").fill("parse a duration")
    expect(page.locator("body")).to_have_attribute("data-work", "asking")
    ask(page, UPLOAD)
    first_hit(page)
    for route in held:
        route.continue_()
    page.evaluate("fetch('v1/health')")  # whatever came before it has been seen by then
    first_hit(page)
    assert page.evaluate("document.title").startswith(UPLOAD)


def test_who_goes_to_the_hits_while_an_answer_is_on_its_way_stays_among_them(new_page, server):
    page = new_page(server)
    held = []
    page.route(lambda url: "q=prepare" in url, lambda route: held.append(route))
    ask(page, UPLOAD)
    focused = page.locator(":focus")
    with page.expect_request(lambda request: "q=prepare" in request.url):
        page.locator("#q").fill("prepare an upload plan")
    page.keyboard.press("ArrowDown")
    expect(focused.locator(".symbol")).to_have_text("UploadClient.retry_upload")
    held.pop().continue_()
    settled(page)
    expect(focused.locator(".symbol")).to_have_text("plan_upload")


def test_a_link_says_the_query_and_every_filter(page, server):
    filters = "repository=shop&language=python&path=src%2F**&kind=method&kind=function"
    page.goto(f"{server}?q=upload&{filters}")
    settled(page)
    assert symbols(page)
    for place in page.locator("#hits .place").all_inner_texts():
        assert place.startswith("src/") and ".py:" in place
    assert {facts.split(" ")[0] for facts in page.locator("#hits .facts").all_inner_texts()} == {"method", "function"}
    expect(page.locator("#language")).to_have_value("python")
    expect(page.locator("#path")).to_have_value("src/**")
    expect(page.locator("#repositories-choice summary")).to_have_text("shop")
    checked = page.locator("#filters input:checked").evaluate_all("boxes => boxes.map((box) => box.value)")
    assert checked == ["shop", "function", "method"]
    page.locator("#clear-filters").click()
    settled(page)
    assert page.url == f"{server}?q=upload"
    expect(page.locator("#hits .facts").filter(has_text="class")).not_to_have_count(0)
    page.get_by_role("checkbox", name="exact text").check()
    page.locator("#q").fill("class UploadClient:")
    expect(page.locator("#summary")).to_contain_text("1 hit")
    assert "literal=true" in page.url


def test_everything_can_be_done_from_the_keyboard(new_page, server):
    page = new_page(server, permissions=["clipboard-read", "clipboard-write"])
    press, focused = page.keyboard.press, page.locator(":focus")
    page.keyboard.type("prepare an upload plan")
    expect(page.locator("#hits .symbol").first).to_have_text("plan_upload")
    settled(page)
    press("ArrowDown")
    expect(focused).to_have_attribute("aria-label", "plan_upload, src/upload/plan.py:1")
    lines = page.locator("#hits .hit").first.locator(".line")
    assert lines.count() < 32
    press("Enter")
    expect(lines).to_have_count(32)
    press("Enter")
    expect(lines).not_to_have_count(32)
    press("c")
    expect(page.locator("#said")).to_have_text("copied src/upload/plan.py:1")
    assert page.evaluate("navigator.clipboard.readText()") == "src/upload/plan.py:1"
    press("j")
    second = focused.get_attribute("aria-label")
    assert second != "plan_upload, src/upload/plan.py:1"
    press("k")
    expect(focused).to_have_attribute("aria-label", "plan_upload, src/upload/plan.py:1")
    press("k")
    expect(page.locator("#q")).to_be_focused()
    press("Escape")
    expect(page.locator("#q")).to_have_value("")
    press("Escape")
    press("?")
    expect(page.locator("#help")).to_be_visible()
    press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    press("f")
    expect(page.locator("#repositories-choice summary")).to_be_focused()
    press("g")
    press("i")
    expect(page.locator("#index-view")).to_be_visible()
    press("g")
    press("m")
    expect(page.locator("#map-view")).to_be_visible()
    press("/")
    expect(page.locator("#q")).to_be_focused()


def test_context_shows_the_lines_of_the_file_around_a_hit(page, place):
    ask(page, "match a path to a handler")
    hit = page.locator(".hit", has_text="Router.matchPath").first
    hit.get_by_role("button", name="Context").click()
    expect(hit.locator(".line").first).to_have_attribute("data-line", "8")
    lines = (place / "shop/server/router.go").read_text().split("\n")
    for row in hit.locator(".line").all():
        assert row.locator("code").text_content() == lines[int(row.get_attribute("data-line")) - 1]
    expect(hit.locator(".around").first).to_be_visible()
    hit.get_by_role("button", name="More context").click()
    expect(hit.locator(".line").first).to_have_attribute("data-line", "1")
    expect(hit.locator(".line")).to_have_count(len(lines) - 1)
    expect(hit.get_by_role("button", name="More context")).to_be_disabled()
    hit.get_by_role("button", name="Fewer lines").click()
    expect(hit.locator(".around")).to_have_count(0)


def test_similar_code_leads_away_from_a_hit_and_back(page, server):
    ask(page, UPLOAD)
    first_hit(page).get_by_role("button", name="Similar").click()
    expect(page.locator("#origin")).to_contain_text("src/upload/client.py:14")
    settled(page)
    assert "UploadClient.retry_upload" not in symbols(page) and symbols(page)
    link = page.url
    page.get_by_role("link", name=f"back to “{UPLOAD}”").click()
    first_hit(page)
    page.goto(link)
    expect(page.locator("#origin")).to_be_visible()
    page.locator("#q").fill(UPLOAD)
    first_hit(page)
    expect(page.locator("#origin")).to_be_hidden()


def test_a_filter_that_is_not_on_offer_yet_stays_when_another_one_is_set(new_page, server):
    page = new_page(server)
    page.route("**/v1/repositories*", lambda route: None)  # not answered: neither languages nor repositories are known
    page.goto(f"{server}?q=upload&repository=shop&language=python&path=src%2F**")
    settled(page)
    page.get_by_role("checkbox", name="method").check()
    expect(page).to_have_url(re.compile("kind=method"))
    said = parse_qs(urlsplit(page.url).query)
    assert said == {
        "q": ["upload"],
        "repository": ["shop"],
        "language": ["python"],
        "path": ["src/**"],
        "kind": ["method"],
    }


def test_code_and_file_names_never_run_and_hide_nothing(page, place):
    ask(page, "render a comment")
    hit = first_hit(page, "render_comment")
    hit.get_by_role("button", name="Context").click()
    hostile = (place / "shop" / "web" / "<img src=x onerror=window.hacked=5>\u202eyp.py").read_text()
    expect(hit.locator(".line code")).to_have_text(hostile.replace("\u202e", "⟨202e⟩").rstrip("\n").split("\n"))
    expect(hit.locator(".file")).to_have_text("<img src=x onerror=window.hacked=5>⟨202e⟩yp.py")
    expect(hit).to_have_attribute("aria-label", re.compile("⟨202e⟩yp.py:1$"))
    expect(hit.locator(".hidden-character")).to_have_text("⟨202e⟩")
    hit.get_by_role("button", name="Similar").click()
    expect(page.locator("#origin b")).to_have_text("web/<img src=x onerror=window.hacked=5>⟨202e⟩yp.py:1")
    page.get_by_role("link", name="Map", exact=True).click()
    expect(page.locator("#legend button")).not_to_have_count(0)
    assert page.evaluate("window.hacked") is None
    assert page.locator("img, iframe, object, embed, main script, main svg a").count() == 0


def test_the_page_and_the_terminal_agree_on_what_hides(page):
    script = """async (text) => (await import("./dom.js")).visible(text)"""
    text = "a\tb\nc\x1b\r\u00ad\u061c\u180e\u200d\u2028\u2029\u202e\u2066\ufeff\U000e0041é你\U0001f600"
    shown = visible(text)
    assert shown.startswith("a\tb\nc<1b><0d><ad><61c><180e>") and shown.endswith("<e0041>é你\U0001f600")
    assert page.evaluate(script, text) == shown.replace("<", "⟨").replace(">", "⟩")


def test_hits_stay_when_a_later_stage_fails(new_page, serve, tmp_path):
    page = new_page(serve(write_files(tmp_path / "shop", FILES), searcher=Failing))
    ask(page, UPLOAD)
    expect(page.locator("#summary")).to_contain_text("the model is gone")
    first_hit(page)
    expect(page.locator("#message")).to_be_hidden()


def test_highlighting_is_believed_only_where_it_says_what_the_code_says(page):
    script = """async () => {
        const { rows } = await import("./code.js");
        const draw = (text, html) => rows(text, [html], { first: 1, matches: new Set(), body: [1, 1] })[0];
        return [
            draw("if a < b", '<span class="k">if</span> a &lt; b'),
            draw("if a < b", '<span class="k">if</span> a &lt; c'),
            draw("<b>x</b>", "<b>x</b>"),
            draw("<b>x</b>", '<span class="k" onclick="x()">&lt;b&gt;x&lt;/b&gt;</span>'),
        ].map((row) => [row.textContent, row.querySelectorAll("code *").length]);
    }"""
    assert page.evaluate(script) == [["if a < b", 1], ["if a < b", 0], ["<b>x</b>", 0], ["<b>x</b>", 0]]


def test_the_address_reads_back_as_it_was_written(page):
    script = """async (states) => {
        const { NOTHING, read, write } = await import("./address.js");
        return states.map((state) => [read(write({ ...NOTHING, ...state })), { ...NOTHING, ...state }]);
    }"""
    near = {"repository": "a/b", "path": "x:1/é &?.py", "line": 7}
    states = [{}, {"q": "a&b=c #?", "view": "map"}, {"near": near}, {"q": "x", "literal": True, "kind": ["a", "b"]}]
    for read, written in page.evaluate(script, states):
        assert read == written
    odd = "const { read } = await import('./address.js'); return read('?view=no&near=x&in=y&literal=1&q=%')"
    assert page.evaluate(f"async () => {{ {odd} }}") == page.evaluate(script, [{"q": "%"}])[0][1]


def test_the_reranked_order_settles_in_around_what_is_being_read(new_page, serve, place):
    TwoStages.go_on.clear()
    glides = """() => {
        window.glides = 0;
        const animate = Element.prototype.animate;
        Element.prototype.animate = function (...all) { window.glides += 1; return animate.apply(this, all); };
    }"""
    page = new_page(serve(place / "shop", searcher=TwoStages))
    page.evaluate(glides)
    page.locator("#q").fill(UPLOAD)
    hit = first_hit(page)
    expect(page.locator("body")).to_have_attribute("data-work", "settling")
    instant = symbols(page)
    hit.get_by_role("button", name="Context").click()
    expect(hit.locator(".around").first).to_be_visible()
    hit.get_by_role("button", name="More context").focus()
    TwoStages.go_on.set()
    expect(page.locator("#summary")).to_contain_text("re-ranked")
    settled(page)
    assert sorted(symbols(page)) == sorted(instant) and symbols(page) != instant
    read = page.locator(".hit", has=page.locator(".around"))
    expect(read.locator(".symbol")).to_have_text(instant[0])
    expect(read.get_by_role("button", name="More context")).to_be_focused()
    expect(read).to_be_in_viewport()
    assert page.evaluate("window.glides") > 0
    page.emulate_media(reduced_motion="reduce")
    page.evaluate("window.glides = 0")
    page.locator("#q").fill("upload")
    expect(page.locator("#summary")).to_contain_text("re-ranked")
    settled(page)
    assert page.evaluate("window.glides") == 0


def test_a_refused_question_and_one_without_hits_say_what_to_do(new_page, server):
    page = new_page(server, said=["400 (Bad Request)"])
    page.locator("#q").fill("?!")
    expect(page.locator("#message")).to_contain_text("no letter or digit")
    page.goto(f"{server}?q=upload&path=nowhere%2F**")
    expect(page.locator("#message")).to_contain_text("No hits.")
    page.get_by_role("button", name="Search without filters").click()
    expect(page.locator("#hits .hit").first).to_be_visible()
    expect(page.locator("#message")).to_be_hidden()
    page.goto(f"{server}?q=upload&language=klingon")
    expect(page.locator("#message")).to_contain_text("klingon")


def test_more_hits_go_on_where_the_page_ends(new_page, serve, tmp_path):
    many = {f"m{n}.py": f'def read_number_{n}(file):\n    """Read a number, the {n}th."""\n' for n in range(45)}
    many = {name: text + "    return int(file.read())\n" * 8 for name, text in many.items()}
    address = serve(write_files(tmp_path / "many", many))
    page = new_page(f"{address}?q=read+number")
    expect(page.locator("#hits .hit")).to_have_count(20)
    page.get_by_role("button", name="More hits").click()
    expect(page.locator("#hits .hit")).to_have_count(40)
    expect(page.locator(".hit:focus")).to_have_count(1)
    page.get_by_role("button", name="More hits").click()
    expect(page.locator("#hits .hit")).to_have_count(45)
    expect(page.get_by_role("button", name="More hits")).to_be_hidden()
    assert len(set(symbols(page))) == 45


def test_more_hits_that_do_not_come_are_said_beside_the_button(new_page, serve, tmp_path):
    many = {f"m{n}.py": f"def read_number_{n}(file):\n    return int(file.read()) + {n}\n" for n in range(45)}
    said = ["503 (Service Unavailable)", "400 (Bad Request)"]
    page = new_page(f"{serve(write_files(tmp_path / 'many', many))}?q=read+number", said=said)
    more, fault, hits = (page.locator(f"#{name}") for name in ("more", "more-fault", "hits .hit"))
    expect(hits).to_have_count(20)
    refusals = [(503, "200 requests are being answered; try again in a second"), (400, "offset is 990, expected less")]

    def refuse(route):
        status, message = refusals[0]
        route.fulfill(status=status, json={"error": {"type": "Busy", "message": message}})

    page.route(lambda url: "offset=20" in url, refuse)
    more.click()
    expect(fault).to_have_text(refusals[0][1])
    expect(more).to_be_visible()
    refusals.pop(0)
    more.click()
    expect(fault).to_have_text(refusals[0][1])
    expect(more).to_be_hidden()
    page.locator("#q").fill("read number 7")
    expect(more).to_be_visible()
    expect(fault).to_have_text("")


def test_hits_that_are_shown_already_count_once(new_page, serve, tmp_path):
    many = {f"m{n}.py": f"def read_number_{n}(file):\n    return int(file.read()) + {n}\n" for n in range(45)}
    page = new_page(f"{serve(write_files(tmp_path / 'many', many))}?q=read+number")
    page.route(
        lambda url: "offset=20" in url,
        lambda route: route.continue_(url=route.request.url.replace("offset=20", "offset=10")),
    )
    page.get_by_role("button", name="More hits").click()
    expect(page.locator("#hits .hit")).to_have_count(30)
    expect(page.locator("#summary")).to_contain_text("the 30 best hits")
    assert len(set(symbols(page))) == 30


def test_more_hits_go_on_in_the_order_of_the_last_stage(new_page, serve, tmp_path):
    many = {f"m{n}.py": f"def read_number_{n}(file):\n    return int(file.read()) + {n}\n" for n in range(45)}
    page = new_page(f"{serve(write_files(tmp_path / 'many', many), searcher=Backwards)}?q=read+number")
    for shown in (20, 40, 45):
        expect(page.locator("#summary")).to_contain_text("re-ranked")
        expect(page.locator("#hits .hit")).to_have_count(shown)
        settled(page)
        if shown < 45:
            page.get_by_role("button", name="More hits").click()
    instant = page.evaluate("""async () => {
        const answer = await (await fetch("v1/search?q=read+number&top_k=50")).json();
        return answer.hits.map((hit) => hit.symbol);
    }""")
    assert symbols(page) == instant[::-1]
