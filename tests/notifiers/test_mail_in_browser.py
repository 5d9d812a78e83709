"""Test a mail received by SMTP: parts, headers, and its HTML in a real browser."""

import base64
import io
import re
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from browsing import look, look_everywhere
from PIL import Image
from playwright.sync_api import Browser
from sending import ask, deliver

from faser_align.notifiers.mailbox import Mailbox
from faser_align.notifiers.message import compose
from faser_align.notifiers.targets import Target
from faser_align.operations import samples

pytestmark = pytest.mark.slow

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 300
NAME = "Łódź_Ünï_中文 🚀"
UTC = "2026-11-25T12:00:00Z"


def html_of(letter: EmailMessage) -> str:
    """Return the mail's decoded HTML."""
    body = letter.get_body(("html",))
    assert body is not None
    return str(body.get_content())


def test_a_letter_with_everything(smtp_server: Mailbox, facts: dict[str, Any]) -> None:
    """SMTP preserves both parts, every byte of the plot in the HTML, non-ASCII names and the thread."""
    facts |= {"campaign": NAME, "picture": PNG, "plot": f"/data/{NAME}/convergence.png"}
    target = Target("me", smtp_server.url("me@example.org"))
    for event, key in (("held", "7"), ("converged", "9")):
        answer = ask(target, compose(facts | {"event": event}), key=key, thread=NAME)
        assert answer == (True, "250 OK")
    first, last = smtp_server.messages()
    assert last.get_content_type() == "multipart/alternative"
    plain, both = last.iter_parts()
    assert plain.get_content_type() == "text/plain"
    html, picture = both.iter_parts()
    assert picture.get_content() == PNG
    assert (picture.get_content_type(), picture.get_filename()) == ("image/png", "convergence.png")
    assert picture.get_content_disposition() == "inline"
    assert f'src="cid:{str(picture["Content-ID"])[1:-1]}"' in html.get_content()
    assert last["Subject"] == f"[faser-align] {NAME} converged after 4 of 10 iterations"
    assert last["References"] == last["In-Reply-To"] == first["References"] != last["Message-ID"]
    for form in ("plain", "html"):
        body = last.get_body((form,))
        assert body is not None
        assert NAME in body.get_content()
        assert "convergence.png (shown in e-mails)" in body.get_content()


@pytest.mark.parametrize("event", ["converged", "failed", "held", "lost", "submitted"])
def test_a_letter_in_the_browser(browser: Browser, smtp_server: Mailbox, tmp_path: Path, event: str) -> None:
    """The HTML of a mail is readable on a phone in dark mode and on a large screen in light mode."""
    message = compose(samples.facts(UTC, event) | {"campaign": NAME, "page": "https://align.example.org/a.html"})
    assert deliver(Target("me", smtp_server.url("me@example.org")), message, key="1", thread="t") is None
    path = tmp_path / "letter.html"
    path.write_text(html_of(smtp_server.messages()[0]), encoding="utf-8")
    for page in look_everywhere(browser, path, axe=True):
        assert page.locator("h1").inner_text() == message.subject.removeprefix("[faser-align] ")
        assert page.locator("table.rows tbody tr").count() == {"submitted": 0, "converged": 3}.get(event, 2)
        assert page.locator("a").evaluate_all("all => all.map(a => a.href)") == ["https://align.example.org/a.html"]


@pytest.mark.parametrize(("scheme", "background"), [("light", (255, 255, 255)), ("dark", (23, 23, 23))])
def test_the_plot_is_as_dark_as_the_letter(
    browser: Browser,
    smtp_server: Mailbox,
    tmp_path: Path,
    facts: dict[str, Any],
    scheme: str,
    background: tuple[int, ...],
) -> None:
    """The white background of the plot is dark in dark mode."""
    plot = io.BytesIO()
    Image.new("RGB", (40, 40), "white").save(plot, "PNG")
    message = compose(facts | {"picture": plot.getvalue(), "plot": "/data/convergence.png"})
    assert deliver(Target("me", smtp_server.url("me@example.org")), message, key="1", thread="t") is None
    data = f"data:image/png;base64,{base64.b64encode(plot.getvalue()).decode()}"
    path = tmp_path / "letter.html"
    path.write_text(re.sub(r"cid:[^\"]*", data, html_of(smtp_server.messages()[0])), encoding="utf-8")
    shown = look(browser, path, 640, scheme).page.locator("img").screenshot()
    assert Image.open(io.BytesIO(shown)).convert("RGB").getpixel((20, 20)) == background


def test_a_hostile_letter_in_the_browser(browser: Browser, tmp_path: Path, facts: dict[str, Any]) -> None:
    """Names with a script, malformed numbers, and very long lines are shown as text and fit a phone."""
    name = '<script>document.title="owned"</script><img src=x onerror=alert(1)>' + "x" * 300
    facts |= dict.fromkeys(("campaign", "reason", "solver", "constants", "page", "no_plot", "key"), name)
    facts["steps"] = [("next", name)]
    facts["rows"] = [{"iteration": 1, "chi2_per_ndf": float("nan"), "largest": {"value": 1.0, "where": name}}, {}]
    facts["failed"] = [{"node": name, "why": name, "cure": name, "log": [name, "</pre></li>"]}]
    facts["weak"] = [{"name": name, "moved_um": 3.0}]
    path = tmp_path / "letter.html"
    path.write_text(compose(facts).html, encoding="utf-8")
    seen = look(browser, path, 360, "dark")
    assert seen.page.title().startswith("<script>document.title=")
    assert seen.page.locator("script, img, main a").count() == 0
    assert "not finite" in seen.page.locator("table.rows").inner_text()
    seen.page.context.close()
