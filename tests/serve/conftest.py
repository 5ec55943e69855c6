"""What the tests of the page share: a browser, real servers, and pages that must not complain."""

import json
import os
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from pages import PATIENCE_MS, opened_browser
from servers import PATIENCE_S, open_workspace, running, serving, until
from sources import FILES, write_files

LONG = "".join(f"    step_{n} = prepare(step_{n - 1})\n" for n in range(1, 30))
HOSTILE = '''def render_comment(comment):
    """Show <img src=x onerror=window.hacked=1> </script><script>window.hacked=2</script> of a comment."""
    template = '<svg onload="window.hacked=3"><a href="javascript:window.hacked=4">'
    return template + comment  # \u202e reversed &amp; &lt;b&gt;
'''
HOSTILE_PATH = "web/<img src=x onerror=window.hacked=5>\u202eyp.py"
SHOP = FILES | {
    "src/upload/plan.py": f'def plan_upload(step_0):\n    """Prepare an upload."""\n{LONG}    return step_29\n',
    HOSTILE_PATH: HOSTILE,
}
SETTINGS = """
[search]
retriever = "off"  # which hits are best is tested elsewhere
[serve]
requests_per_second = 10000  # tests open pages faster than people do
"""
TOOLS = {"tools/dates.py": "def parse_date(text):\n    return text.split('-')\n" * 9}


@pytest.fixture(scope="module")
def browser():
    with opened_browser() as browser:
        yield browser


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """The folder of the two repositories that are served: shop and tools."""
    place = tmp_path_factory.mktemp("served")
    write_files(place / "shop", SHOP)
    write_files(place / "tools", TOOLS)
    return place


@pytest.fixture(scope="session")
def server(place):
    """The address of a real `dowse serve`, used by somebody whose files lie in `place`."""
    home = {name: str(place / "user") for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    write_files(place / "user", {"dowse/config.toml": SETTINGS})
    with serving(place / "shop", place / "tools", "--feedback", env=home) as dowse:

        def is_indexed():
            with urlopen(f"{dowse.url}/v1/repositories", timeout=PATIENCE_S) as answer:
                return {one["state"] for one in json.load(answer)["repositories"]} == {"ready"}

        until(is_indexed, "indexing")
        yield f"{dowse.url}/"


@pytest.fixture
def serve(tmp_path):
    """Serve folders, indexed already, from this process until all pages are closed; returns the address."""
    write_files(Path(os.environ["XDG_CONFIG_HOME"]), {"dowse/config.toml": SETTINGS})
    with ExitStack() as stack:

        def start(*folders, access=None, **options):
            workspace = stack.enter_context(open_workspace(*folders, index_dir=tmp_path / "index", **options))
            return f"{stack.enter_context(running(workspace, access)).base_url}/"

        yield start


@pytest.fixture
def new_page(browser, serve):
    """Open pages that must neither complain, but for what is `said` beforehand, nor ask anyone but their own server."""
    contexts, complaints = [], []

    def open_page(address, said=(), **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}} | options)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()

        def on_console(message):
            if message.type in ("error", "warning") and not any(part in message.text for part in said):
                complaints.append(message.text)

        def on_request(request):
            if urlsplit(request.url).netloc != urlsplit(page.url).netloc != "":
                complaints.append(f"asks {request.url}")

        def on_dialog(dialog):
            complaints.append(dialog.message)
            dialog.dismiss()

        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", on_console)
        page.on("request", on_request)
        page.on("dialog", on_dialog)
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(new_page, server):
    return new_page(server)
