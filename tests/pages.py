"""A real browser for tests of the page, and what they ask of it again and again."""

import shutil
from contextlib import contextmanager

from playwright.sync_api import Error, expect, sync_playwright
from servers import PATIENCE_S

PATIENCE_MS = PATIENCE_S * 1000

expect.set_options(timeout=PATIENCE_MS)

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def opened_browser():
    """Start Chromium: the system's, else the one that playwright has installed."""
    names = ("chromium", "chromium-browser", "google-chrome")
    installed = next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        browser = launched(playwright.chromium, executable_path=installed, args=list(QUIET), timeout=PATIENCE_MS)
        yield browser
        browser.close()


def launched(chromium, **settings):
    """Start it, again where it dies while starting, as it now and then does on a machine without memory to spare."""
    for _ in range(3):
        try:
            return chromium.launch(**settings)
        except Error as error:
            died = error
    raise died


def symbols(page):
    """Return the names of the hits, best first."""
    return page.locator("#hits .symbol").all_inner_texts()


def first_hit(page, symbol="UploadClient.retry_upload"):
    """Wait for the best hit, and return it."""
    hit = page.locator("#hits .hit").first
    expect(hit.locator(".symbol")).to_have_text(symbol)
    return hit


def settled(page):
    """Wait until no further order of the hits is to come."""
    expect(page.locator("body")).to_have_attribute("data-work", "")
    return page


def ask(page, query):
    """Ask, and wait for the hits."""
    page.locator("#q").fill(query)
    expect(page.locator("#hits .hit").first).to_be_visible()
    return settled(page)
