"""How the page looks and is read aloud: contrast computed from what is shown, names, focus, narrow screens, safety."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pages import ask, first_hit
from playwright.sync_api import expect

PAGE = Path(__file__).resolve().parents[2] / "src" / "dowse" / "serve" / "page"
SOURCES = sorted(path for path in PAGE.iterdir() if path.suffix in (".js", ".css", ".html", ".svg"))

TEXTS = """() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const under = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if (rgba(colour)[3] === 255) return rgba(colour);
        }
        return [255, 255, 255, 255];
    };
    const found = new Map();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || element.closest(".unseen, :disabled, option, template")) continue;
        if (!element.checkVisibility({ visibilityProperty: true })) continue;
        const [text, ground] = [rgba(getComputedStyle(element).color), under(element)];
        found.set(`${text} ${ground}`, [element.outerHTML.slice(0, 120), text, ground]);
    }
    for (const input of document.querySelectorAll("input[placeholder]")) {
        if (!input.checkVisibility()) continue;
        const [text, ground] = [rgba(getComputedStyle(input, "::placeholder").color), under(input)];
        found.set(`${text} ${ground}`, [input.id, text, ground]);
    }
    return [...found.values()];
}"""

UNNAMED = """() => [...document.querySelectorAll("a, button, input, select, canvas, summary, progress, dialog")]
    .filter((one) => !(one.labels?.length || one.getAttribute("aria-label") || one.textContent.trim()
        || document.getElementById(one.getAttribute("aria-labelledby"))))
    .map((one) => one.outerHTML)"""

GRAPHICS = """() => [...document.querySelectorAll(".legend .dot, .bar span, .zoom, .box input, select")].map((one) => {
    const style = getComputedStyle(one);
    return one.matches(".dot, span") ? style.backgroundColor : style.borderTopColor;
})"""


def luminance(colour):
    """Relative luminance of an sRGB colour, as WCAG 2.2 defines it."""
    linear = [c / 12.92 if (c := value / 255) <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for value in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def numbers(colour):
    return [int(value) for value in re.findall(r"\d+", colour)[:3]]


def every_view(page, server):
    """Show the views one after the other, with as much on them as there can be."""
    yield "start"
    ask(page, "render a comment upload retry")
    page.locator("#hits .hit").first.get_by_role("button", name="Context").click()
    expect(page.locator(".around").first).to_be_visible()
    page.locator("#filters label", has_text="method").click()
    page.locator("#filters label", has_text="class").click()
    page.locator("#repositories-choice summary").click()
    yield "hits"
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Map", exact=True).click()
    expect(page.locator("#legend button")).not_to_have_count(0)
    page.locator("#legend button").first.click()
    page.locator("#canvas").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tip")).to_be_visible()
    yield "map"
    page.get_by_role("link", name="Index", exact=True).click()
    page.locator(".skipped summary").first.click()
    expect(page.locator(".state").first).to_be_visible()
    page.get_by_role("button", name="Keyboard shortcuts").click()
    yield "index"
    page.keyboard.press("Escape")
    page.goto(f"{server}?q=upload&path=nowhere")
    expect(page.locator("#message")).to_contain_text("No hits.")
    yield "no hits"


def test_contrast_is_computed_as_wcag_does():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.478, abs=1e-3)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_has_the_contrast_of_wcag_aa_a_name_for_every_control_and_unique_ids(new_page, server, scheme):
    page = new_page(server, color_scheme=scheme, reduced_motion="reduce")
    seen = 0
    for view in every_view(page, server):
        texts = page.evaluate(TEXTS)
        assert [(view, where) for where, text, ground in texts if contrast(text, ground) < 4.5] == []
        seen += len(texts)
        ground = page.evaluate("getComputedStyle(document.getElementById('canvas')).backgroundColor")
        graphics = page.evaluate(GRAPHICS)
        assert [(view, colour) for colour in graphics if contrast(numbers(colour), numbers(ground)) < 3] == []
        assert page.evaluate(UNNAMED) == []
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map((one) => one.id)")
        assert len(ids) == len(set(ids))
        assert page.locator("h1:visible").count() == 1
    assert seen > 40
    assert (luminance(numbers(ground)) > 0.5) == (scheme == "light")


def test_the_focus_is_seen_wherever_it_goes(page):
    ask(page, "upload")
    page.locator(".wordmark").focus()
    for _ in range(25):
        page.keyboard.press("Tab")
        shown = page.evaluate("""() => {
            const at = document.activeElement;
            const drawn = at.matches(".chips input") ? at.nextElementSibling : at;
            const { outlineStyle, outlineWidth } = getComputedStyle(drawn);
            return [outlineStyle !== "none" && parseFloat(outlineWidth) >= 2, at.outerHTML.slice(0, 80)];
        }""")
        assert shown[0], shown[1]


def test_colours_follow_the_system_until_one_is_chosen_and_kept(new_page, server):
    page = new_page(server, color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    button = page.locator("#theme-button")
    expect(button).to_have_accessible_name("Colours: system")
    button.click()
    expect(button).to_have_accessible_name("Colours: light")
    light = page.evaluate(ground)
    assert luminance(numbers(dark)) < 0.1 < 0.8 < luminance(numbers(light))
    page.reload()
    expect(button).to_have_accessible_name("Colours: light")
    assert page.evaluate(ground) == light
    button.click()
    button.click()
    page.emulate_media(color_scheme="light")
    assert page.evaluate(ground) == light
    expect(button).to_have_accessible_name("Colours: system")


@pytest.mark.parametrize("width", [320, 768])
def test_narrow_screens_never_scroll_sideways(new_page, server, width):
    page = new_page(server, viewport={"width": width, "height": 700}, reduced_motion="reduce")
    sideways = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    for view in ("?q=retry+a+failed+upload", "?view=map", "?view=index", "?near=src/upload/client.py:14&in=shop"):
        page.goto(server + view)
        expect(
            page.locator("main > section:not([hidden]) :is(.hit, .repository, .legend button)").first
        ).to_be_visible()
        assert page.evaluate(sideways) <= 0, view
    if width < 700:
        page.goto(f"{server}?q=retry+a+failed+upload")
        first_hit(page)
        page.get_by_role("button", name="Filters").click()
        page.get_by_role("checkbox", name="method").check()
        expect(page.get_by_role("button", name="Filters (1)")).to_be_visible()
        assert page.evaluate(sideways) <= 0


class Assets(HTMLParser):
    """What a page links to, and what it should not have."""

    def __init__(self):
        super().__init__()
        self.linked, self.inline = [], []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.inline += [name for name in given if name.startswith("on") or name == "style"]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)
        if tag in ("script", "link", "img"):
            self.linked.append(given.get("src") or given.get("href"))


def test_every_asset_is_local_there_and_preloaded_and_nothing_is_inline():
    assets = Assets()
    assets.feed((PAGE / "index.html").read_text(encoding="utf-8"))
    assert assets.inline == []
    files = {path.name for path in PAGE.iterdir()} - {"index.html"}
    assert set(assets.linked) == files
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|url\(|@import", text), path.name


def test_no_text_is_ever_handed_to_a_parser():
    parsers = (
        r"innerHTML|outerHTML|insertAdjacentHTML|setHTML|document\.write|DOMParser|srcdoc|createContextualFragment"
        r"|\beval\b|new Function"
    )
    for path in PAGE.glob("*.js"):
        assert not re.search(parsers, path.read_text(encoding="utf-8")), path.name
