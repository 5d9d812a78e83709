"""Check pages and mails in a real browser: requests, errors, accessibility."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

SIZES = ((360, "dark"), (1600, "light"))
PATIENCE_MS = 120_000  # on a busy machine
# The first one has no user interface and starts in less than half the time of the others.
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
# No sandbox inside a container, and no requests of the browser itself. V8's optimizing compiler takes more than it saves.
ARGUMENTS = [
    "--js-flags=--no-opt",
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
]
# Mark three texts of each look, which the styles of an element and of all those around it determine. The contrasts of a
# report's 1,600 elements, of 50 looks, take axe-core 2 s. Single characters are apart, because axe-core does not judge them.
MARK_LOOKS = """() => {
  const names = ["color", "backgroundColor", "backgroundImage", "opacity", "visibility", "position", "filter", "mixBlendMode",
    "fontSize", "fontWeight", "textShadow", "webkitTextStroke", "clipPath", "content"];
  const numbers = new Map(), looks = new Map(), found = new Map();
  const number = text => numbers.get(text) ?? numbers.set(text, numbers.size).get(text);
  const look = element => {
    if (!element) return 0;
    if (!looks.has(element)) {
      const styles = [null, "::before", "::after"].map(part => getComputedStyle(element, part));
      const own = styles.map(style => names.map(name => style[name]));
      looks.set(element, number(JSON.stringify([look(element.parentElement), element.matches(":disabled, [aria-disabled]"), own])));
    }
    return looks.get(element);
  };
  for (const element of document.querySelectorAll("body, body *")) {
    const text = [...element.childNodes].filter(node => node.nodeType == Node.TEXT_NODE).map(node => node.data).join("").trim();
    if (!text || !element.checkVisibility()) continue;
    const key = number(JSON.stringify([look(element), text.length > 1]));
    found.set(key, (found.get(key) ?? 0) + 1);
    if (found.get(key) <= 3) element.dataset.look = key;
  }
}"""
CONTRAST_OF_LOOKS = "; axe.configure({rules: [{id: 'color-contrast', selector: '[data-look]'}]})"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start headless Chromium."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.fail("no browser is installed: `make test` installs Debian's chromium-headless-shell", pytrace=False)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=ARGUMENTS, timeout=PATIENCE_MS)
        yield started
        started.close()


class Seen:
    """A page, its requests, and its errors."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))

    def check(self, *, axe: bool = False) -> None:
        """Check the page: no requests, no errors, it fits the screen; with ``axe``, which is slow, accessible."""
        assert [url for url in self.asked if url != self.page.url and not url.startswith("data:")] == []
        assert self.complaints == []
        assert not axe or self.violations() == []
        width = self.page.viewport_size["width"]  # type: ignore[index]
        assert self.page.evaluate("document.documentElement.scrollWidth") <= width

    def violations(self) -> list[str]:
        """Return what axe-core finds, also in parts that are folded."""
        self.page.evaluate(
            "for (const fold of document.querySelectorAll('details:not([open])')) fold.open = fold.folded = true"
        )
        self.page.evaluate(MARK_LOOKS)
        found = Axe(Axe().axe_script + CONTRAST_OF_LOOKS).run(self.page).response["violations"]
        self.page.evaluate(
            "for (const fold of document.querySelectorAll('details')) if (fold.folded) fold.open = false"
        )
        return [f"{v['id']}: {v['nodes'][0]['html']}" for v in found]


def reached_with_tab(page: Page) -> tuple[int, int]:
    """Return how many visible elements the tabulator reaches, and how many should be: links, buttons, folds, scrolled parts."""
    marked = page.evaluate(
        """() => {
          const all = [...document.querySelectorAll('a[href], button, summary, select, input, [tabindex]')]
            .filter(element => element.checkVisibility());
          all.forEach((element, at) => element.dataset.at = at);
          return all.length;
        }"""
    )
    reached = set()
    for _ in range(2 * marked):
        if len(reached - {None}) == marked:
            break
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.dataset.at"))
    return len(reached - {None}), marked


def look(browser: Browser, path: Path, width: int, scheme: str, *, axe: bool = False) -> Seen:
    """Open a file and check it."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    seen = Seen(context.new_page())
    seen.page.goto(path.as_uri())
    seen.check(axe=axe)
    return seen


def look_everywhere(browser: Browser, path: Path, *, axe: bool = False) -> Iterator[Page]:
    """Check a file on a phone in dark mode, then on a large screen in light mode; close it at the end."""
    (width, scheme), other = SIZES
    seen = look(browser, path, width, scheme, axe=axe)
    yield seen.page
    seen.page.set_viewport_size({"width": other[0], "height": 900})
    seen.page.emulate_media(color_scheme=other[1])  # type: ignore[arg-type]
    seen.check(axe=axe)
    yield seen.page
    seen.page.context.close()
