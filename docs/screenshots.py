"""Make the pictures of the documentation, of a demonstration that is run for that: ``make screenshots``."""

import base64
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import Literal, NamedTuple

import pictured
from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from faser_align.examples import distortions
from faser_align.pages.publish import publish

IMAGES = Path(__file__).resolve().parent / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
BYTES_MAX = 150_000
COLOURS = 255  # of a picture; its file then has a third of the size
HOME = "/home/you/.local/state"  # shown in place of the folder in which the demonstration was made
CHECKOUT = "/home/you/faser-align"
COLUMNS = 96
TERMINAL = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #1e1e2e; color: #e6e6ef; display: inline-block }}
pre {{ margin: 0; padding: 14px 18px; font: 14px/1.35 "DejaVu Sans Mono", monospace }}
i {{ display: inline-block; width: 1ch; font-style: normal; white-space: nowrap }}
</style><pre>{code}</pre>"""
BRAILLE = re.compile("[\u2801-\u28ff]")  # curves: of another font, which is wider than the others


def faser_align(*words: str, folder: Path | None = None, status: int = 0) -> str:
    """Run the program on a terminal, and return what it wrote there, its colours too; it must end with ``status``."""
    variables = {**os.environ, "COLUMNS": str(COLUMNS), "TERM": "xterm-256color", "FASER_ALIGN_COMMAND": "faser-align"}
    variables.pop("NO_COLOR", None)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "faser_align.cli", *words]
    child = subprocess.Popen(command, env=variables, stdout=theirs, cwd=folder)
    os.close(theirs)
    written = b""
    with suppress(OSError):  # what Linux says when the other end is closed
        while part := os.read(ours, 65536):
            written += part
    os.close(ours)
    if child.wait() != status:
        sys.exit(f"error: faser-align {' '.join(words)} ended with {child.returncode}:\n{written.decode()}")
    return written.decode().replace("\r\n", "\n")


def terminal(*words: str, folder: Path | None = None, status: int = 0) -> str:
    """A page that looks like a terminal in which a command was typed."""
    console = Console(record=True, width=COLUMNS + 8, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(Text.assemble(("$ ", "bold green"), f"faser-align {' '.join(words)}"))
    console.print(Text.from_ansi(faser_align(*words, folder=folder, status=status).rstrip()), soft_wrap=True)
    code = console.export_html(theme=MONOKAI, inline_styles=True, code_format="{code}").rstrip()
    return TERMINAL.format(code=BRAILLE.sub(r"<i>\g<0></i>", code.replace("\u2800", " ")))


def letter(folder: Path) -> str:
    """Return the HTML part of the demonstration's message, with the picture in it."""
    path = next(folder.glob("*.eml"))
    message = message_from_bytes(path.read_bytes(), policy=policy.default)
    html, inline = None, {}
    for part in message.walk():
        if part.get_content_type() == "text/html":
            html = str(part.get_content())
        elif part.get_content_type() == "image/png":
            data = base64.b64encode(part.get_content()).decode()
            inline[f"cid:{str(part['Content-ID'])[1:-1]}"] = f"data:image/png;base64,{data}"
    assert html is not None
    for name, data in inline.items():
        html = html.replace(name, data)
    return html


class Shot(NamedTuple):
    """A picture: its name, the page, the size of the window, and how it is shown.

    ``height`` None: all of the page. ``id`` is scrolled to.
    """

    name: str
    page: str
    width: int
    height: int | None
    scheme: Literal["light", "dark"] = "light"
    media: Literal["screen", "print"] = "screen"
    id: str = ""


def picture(browser: Browser, shot: Shot) -> None:
    """Show a page and save a picture of it."""
    name, height = shot.name, shot.height
    shown = browser.new_page(viewport={"width": shot.width, "height": height or 100}, color_scheme=shot.scheme)
    shown.emulate_media(media=shot.media, color_scheme=shot.scheme)
    shown.set_content(shot.page)
    if shot.id:
        shown.evaluate("id => document.getElementById(id).scrollIntoView()", shot.id)
    path = IMAGES / f"{name}.png"
    if height:
        shown.screenshot(path=path)
    else:
        shown.locator("body").screenshot(path=path)
    Image.open(path).convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        path, optimize=True
    )
    size = path.stat().st_size
    print(f"{path}: {size} bytes")
    if size > BYTES_MAX:
        sys.exit(f"error: {path} has more than {BYTES_MAX} bytes; make the window smaller")


def distorted(scratch: Path) -> list[Path]:
    """Run two campaigns of distorted detectors; return their folders."""
    return [Path(distortions.campaign(scratch, name, 4000)) for name in ("shifted-module", "rotated-layer")]


def written(page: Path, *words: str) -> str:
    """Return the page that a command writes."""
    faser_align(*words, "-o", str(page))
    return page.read_text(encoding="utf-8")


def published(pages: Path, campaigns: list[str]) -> str:
    """Publish campaigns to a folder; return its index."""
    for campaign in campaigns:
        publish(campaign, str(pages), written_utc=datetime.now(UTC).isoformat(timespec="milliseconds"))
    return (pages / "index.html").read_text(encoding="utf-8")


def forms(name: str, page: str, width: int, height: int | None) -> list[Shot]:
    """Return the pictures of a page in light and dark mode, on a phone and on paper."""
    return [
        Shot(name, page, width, height),
        Shot(f"{name}-dark", page, width, height, scheme="dark"),
        Shot(f"{name}-phone", page, 360, 1000),
        Shot(f"{name}-print", page, 740, height and 1050, media="print"),
    ]


def shots(scratch: Path) -> list[Shot]:
    """Run the demonstration and the other campaigns in ``scratch``; return the pictures to take."""
    faser_align("demo")
    demo = scratch / "faser-align" / "demo"
    report = (demo / "demo-1.html").read_text(encoding="utf-8")
    first, other = map(str, distorted(scratch))
    troubled = [make(scratch) for make in (pictured.failed, pictured.held, pictured.exhausted)]
    index = published(scratch / "pages", [*troubled, str(demo / "demo-1")])
    failed, held = (written(scratch / f"{at}.html", "report", troubled[at]) for at in (0, 1))
    faser_align("init", folder=scratch)

    return [
        Shot("status", terminal("status", "demo-1"), 1000, None),
        Shot("list", terminal("list"), 1000, None),
        Shot("why", terminal("why", "demo-1"), 1000, None),
        Shot("metrics-plot", terminal("metrics", "--plot", "demo-1"), 1000, None),
        Shot("check", terminal("check", folder=scratch, status=1), 1000, None),
        Shot("report", report, 1000, 1000),
        Shot("report-residuals", report, 1000, 800, id="residuals"),
        Shot("report-dark", report, 1000, 1000, scheme="dark", id="detector-picture"),
        Shot("report-phone", report, 360, 1000, id="residuals"),
        Shot("report-print", report, 740, 1050, media="print"),
        Shot("report-failed", failed, 1000, 1020),
        Shot("report-held", held, 1000, 420),
        *forms("compare", written(scratch / "both.html", "compare", first, other), 1000, 900),
        *forms("index", index, 1600, None),
        Shot("mail-failed", letter(scratch / pictured.MAIL), 640, None),
        Shot("mattermost", (scratch / pictured.POST).read_text(encoding="utf-8"), 720, None),
        *forms("mail", letter(demo / "demo-1.mail"), 640, None),
    ]


def main(scratch: Path) -> None:
    """Take the pictures, with paths as a reader would have them."""
    program = next(path for name in BROWSERS for path in [Path("/usr/bin", name)] if path.exists())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        for shot in shots(scratch):
            page = shot.page.replace(str(scratch), HOME).replace(str(IMAGES.parents[1]), CHECKOUT)
            picture(browser, shot._replace(page=page))
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
