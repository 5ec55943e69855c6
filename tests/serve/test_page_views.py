"""The page in a real browser: the map, the index, tokens, verdicts, and a server that is slow or gone."""

import json
import re

from pages import ask, first_hit
from playwright.sync_api import expect
from servers import PATIENCE_S, running
from sources import write_files

from dowse.serve.app import Access
from dowse.serve.tokens import TokenFile
from dowse.serve.workspace import Workspace

UPLOAD = "retry a failed upload"


def test_a_server_that_stops_answering_is_said_and_found_again(new_page, server):
    page = new_page(server, said=["ERR_INTERNET_DISCONNECTED"])
    ask(page, UPLOAD)
    page.context.set_offline(True)
    page.locator("#q").fill("parse a duration")
    expect(page.locator("#notice")).to_contain_text("does not answer")
    first_hit(page)
    page.context.set_offline(False)
    expect(page.locator("#notice")).to_be_hidden()
    first_hit(page, "parse_duration")


def test_the_page_is_there_before_the_server_answers(new_page, server):
    page = new_page(server)
    held, holding = [], [True]
    page.route("**/v1/**", lambda route: held.append(route) if holding else route.continue_())
    page.reload()
    expect(page.get_by_role("heading", name="Find code by what it does.")).to_be_visible()
    expect(page.locator("#q")).to_be_focused()
    with page.expect_request("**/v1/search/stream?*"):
        page.keyboard.type(UPLOAD)
    expect(page.locator("body")).to_have_attribute("data-work", "asking")
    holding.clear()
    for route in held:
        route.continue_()
    page.keyboard.type(" again")
    first_hit(page)


def test_a_verdict_is_asked_for_only_where_the_server_keeps_it(new_page, server, serve, place):
    page = new_page(server, said=["404 (Not Found)"])
    ask(page, UPLOAD)
    useful = first_hit(page).get_by_role("button", name="Useful", exact=True)
    useful.click()
    expect(useful).to_have_attribute("aria-pressed", "true")
    (kept,) = (place / "user").rglob("feedback.jsonl")
    record = json.loads(kept.read_text().split("\n")[0])
    assert (record["query"], record["useful"], record["symbol"]) == (UPLOAD, True, "UploadClient.retry_upload")
    gone = {"query": UPLOAD, "repository": "shop", "path": "gone.py", "start_line": 1, "end_line": 2, "useful": True}
    page.route("**/v1/feedback", lambda route: route.continue_(post_data=gone))
    page.get_by_role("button", name="Not useful").first.click()
    expect(page.get_by_text("not kept", exact=True)).to_have_attribute("title", re.compile("gone.py"))
    page = new_page(f"{serve(place / 'tools')}?q=date")
    expect(page.locator("#hits .hit").first).to_be_visible()
    expect(page.locator("body")).to_have_attribute("data-feedback", "")
    expect(page.locator(".thumbs")).not_to_have_count(0)
    expect(page.locator(".thumbs:visible")).to_have_count(0)


def test_the_index_says_how_much_is_embedded_ahead_until_all_is(new_page, place, index_dir):
    workspace = Workspace({"index": {"directory": str(index_dir)}, "search": {"retriever": "off"}})
    try:
        keeper = workspace.add(place / "tools").keeper
        assert workspace.settle(PATIENCE_S)
        with running(workspace) as client:
            keeper._embedded(1_200, 3_000)
            page = new_page(f"{client.base_url}/?view=index")
            expect(page.locator(".amount")).to_have_text("1,200 of 3,000 documents embedded for re-ranking")
            expect(page.get_by_role("progressbar", name="Embedding tools")).to_have_js_property("value", 1_200)
            expect(page.locator(".state")).to_have_text("ready")
            keeper._embedded(3_000, 3_000)
            keeper._tell("progress", keeper.condition)
            expect(page.locator(".progress")).to_be_hidden()
            page.close()  # or its stream would keep the server from ending
    finally:
        assert workspace.close(PATIENCE_S)


def test_a_token_is_asked_for_once_and_kept_for_the_tab(new_page, serve, place, tmp_path):
    file = TokenFile(tmp_path / "tokens.json")
    token = file.add("test", None, [])
    address = serve(place / "shop", access=Access(tokens=file))
    page = new_page(f"{address}?q=upload", said=["401 (Unauthorized)"])
    dialog, field = page.locator("#token"), page.get_by_role("textbox", name="Token")
    field.fill("wrong")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("That token was refused")
    field.fill(token)
    page.get_by_role("button", name="Use it").click()
    expect(page.locator("#hits .hit").first).to_be_visible()
    page.reload()
    expect(page.locator("#hits .hit").first).to_be_visible()
    expect(dialog).to_be_hidden()
    assert token not in page.content() and token not in page.url


def test_the_index_is_followed_once_a_token_is_given_after_all(new_page, serve, place, tmp_path):
    file = TokenFile(tmp_path / "tokens.json")
    token = file.add("test", None, [])
    address = serve(place / "shop", access=Access(tokens=file))
    page = new_page(address, said=["401 (Unauthorized)"])
    dialog = page.locator("#token")
    page.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()
    page.locator("#q").fill("upload")
    page.get_by_role("textbox", name="Token").fill(token)
    page.keyboard.press("Enter")
    expect(page.locator("#hits .hit").first).to_be_visible()
    page.get_by_role("link", name="Index", exact=True).click()
    expect(page.locator(".repository .state")).to_have_text("ready")


def test_a_repository_that_is_removed_elsewhere_goes_from_every_page(new_page, serve, place):
    address = serve(place / "shop", place / "tools")
    page, other = (new_page(f"{address}?view=index") for _ in range(2))
    for one in (page, other):
        expect(one.locator(".repository")).to_have_count(2)
    page.get_by_role("button", name="Remove tools").click()
    page.locator("#remove").get_by_role("button", name="Remove").click()
    expect(other.locator(".repository")).to_have_count(1)


def test_repositories_are_added_followed_and_removed(new_page, serve, place, tmp_path):
    address = serve(place / "shop")
    page = new_page(f"{address}?view=index", said=["400 (Bad Request)"])
    entry = page.locator(".repository", has_text="shop")
    expect(entry.locator(".state")).to_have_text("ready")
    expect(entry).to_contain_text("python")
    entry.get_by_text("left out").click()
    expect(entry).to_contain_text("1 not code")
    page.get_by_label("Add a folder").fill(str(tmp_path / "nowhere"))
    page.keyboard.press("Enter")
    expect(page.locator("#add-error")).to_contain_text("does not exist")
    page.get_by_label("Add a folder").fill(str(place / "tools"))
    page.get_by_role("button", name="Add").click()
    added = page.locator(".repository", has_text="tools")
    expect(added.locator(".state")).to_have_text("ready")
    expect(page.locator("#index-lead")).to_contain_text("2 repositories")
    added.get_by_role("link", name="Search only this").click()
    page.keyboard.type("date")
    expect(page.locator("#hits .hit").first).to_contain_text("parse_date")
    page.get_by_role("link", name="Index", exact=True).click()
    for button, left in (("Keep", 2), ("Remove", 1)):
        added.get_by_role("button", name="Remove tools").click()
        page.locator("#remove").get_by_role("button", name=button).click()
        expect(page.locator("#remove")).to_be_hidden()
        expect(page.locator(".repository")).to_have_count(left)
    page.get_by_role("button", name="Remove shop").click()
    page.locator("#remove").get_by_role("button", name="Remove").click()
    expect(page.locator("#index-lead")).to_contain_text("Nothing is indexed yet")
    page.get_by_role("link", name="dowse, start page").click()
    expect(page.locator("#start-index")).to_have_text("Nothing is indexed yet. Add a folder to search it.")


def test_the_map_is_looked_around_in_with_mouse_and_keyboard(page, server):
    page.goto(f"{server}?q=upload&view=map")
    expect(page.locator("#map-lead")).to_contain_text("Rings:")
    canvas = page.locator("#canvas")
    names = page.locator("#legend .name").all_inner_texts()
    assert {"shop/src/upload", "tools/tools"} <= set(names)
    painted = """(canvas) => {
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return new Set(new Uint32Array(data.buffer)).size;
    }"""
    page.wait_for_function(f"({painted})(document.getElementById('canvas')) > 10")
    canvas.focus()
    page.keyboard.press("ArrowRight")
    tip = page.locator("#tip")
    expect(tip).to_be_visible()
    first = tip.inner_text()
    seen = {first}
    for key in ("ArrowLeft", "ArrowUp", "ArrowDown", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
        seen.add(tip.inner_text())
    assert len(seen) > 1
    page.keyboard.press("Enter")
    expect(page.locator("#map-hit .hit")).to_be_focused()
    expect(page.locator("#map-hit .line").first).to_be_visible()
    opened = page.locator("#map-hit .symbol").inner_text()
    assert tip.inner_text().split("\n")[0] == opened
    page.keyboard.press("Escape")
    expect(canvas).to_be_focused()
    page.locator("#legend button", has_text="tools/tools").click()
    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Show all").click()
    x, y = page.evaluate("""async () => {
        const { Sheet } = await import("./sheet.js");
        const sheet = new Sheet(document.getElementById("canvas"));
        const { points } = await (await fetch("v1/map?repository=shop&repository=tools")).json();
        const box = sheet.canvas.getBoundingClientRect();
        const [x, y] = sheet.at(points.find((point) => point.repository === "tools"));
        return [x + box.x, y + box.y];
    }""")
    page.mouse.move(x, y)
    expect(tip).to_contain_text("tools/dates.py")
    page.mouse.click(x, y)
    expect(page.locator("#map-hit .file")).to_have_text("dates.py")


def test_an_older_answer_does_not_take_the_place_of_the_point_opened_last(page, server):
    held = []
    page.route("**/v1/document?*", lambda route: route.continue_() if held else held.append(route))
    page.goto(f"{server}?view=map")
    expect(page.locator("#map-lead")).to_contain_text("of the index")
    page.locator("#canvas").focus()
    page.keyboard.press("ArrowRight")
    with page.expect_request("**/v1/document?*"):
        page.keyboard.press("Enter")
    first = page.locator("#tip").inner_text()
    for key in ("ArrowLeft", "ArrowUp", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
        if page.locator("#tip").inner_text() != first:
            break
    page.keyboard.press("Enter")
    expect(page.locator("#map-hit .hit")).to_be_focused()
    held[0].fulfill(json={"text": "late", "path": "late.py", "repository": "shop", "first_line": 1})
    page.evaluate("fetch('v1/health')")  # whatever came before it has been seen by then
    assert page.locator("#map-hit .file").inner_text() != "late.py"


def test_a_folder_called_other_is_no_rest_of_the_map(new_page, serve, tmp_path):
    files = {f"{at}/f{n}.py": f"def {at}_{n}():\n    return {n}\n" for at in ("other", "src") for n in range(9)}
    page = new_page(f"{serve(write_files(tmp_path / 'kit', files))}?view=map")
    expect(page.locator("#legend .name")).to_have_text(["other", "src"])
    colours = page.locator("#legend .dot").evaluate_all("dots => dots.map((dot) => dot.dataset.colour)")
    assert colours == ["0", "1"]
    script = """async () => {
        const { folders } = await import("./folders.js");
        const at = (folder) => Array(200).fill({ repository: "kit", path: `${folder}/a.py` });
        const points = [...at("other"), ...at("src")];
        return folders([...points, { repository: "kit", path: "tiny/a.py" }])
            .map(({ name, isRest, points: inside }) => [name, isRest, inside.length]);
    }"""
    assert page.evaluate(script) == [["other", False, 200], ["src", False, 200], ["other", True, 1]]


def test_the_map_is_drawn_by_browsers_without_iterator_helpers(new_page, server):
    page = new_page(server)
    page.add_init_script("for (const name of ['filter', 'map', 'some']) delete Iterator.prototype[name];")
    page.goto(f"{server}?q=upload&view=map")
    expect(page.locator("#map-lead")).to_contain_text("Rings:")
