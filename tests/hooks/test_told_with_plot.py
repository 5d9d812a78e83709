"""Test the final message: plot, page, weak modes, savings, and the user's own templates."""

from pathlib import Path
from typing import Any

import pytest
from campaigns import make_campaign, run_iteration
from receivers import notify, text_of

from faser_align.campaign import layout
from faser_align.hooks.message import picture
from faser_align.notifiers.mailbox import Mailbox

PNG = b"\x89PNG\r\n\x1a\nand so on"
MODES = [
    {"name": "curvature in y", "error_um": None, "moved_um": 12.3},
    {"name": "tilt in x", "error_um": 5.0, "moved_um": 0.4},
    {"name": "twist about z", "error_um": 5.0, "moved_um": 0.001},
]


def told(tmp_path: Path, *, report: dict[str, str] | None = None, **changes: Any) -> Any:
    """Run a campaign that converges in its fourth iteration; return its mail and its manifest."""
    with Mailbox(tmp_path / "mail") as mailbox:
        table = notify(tmp_path, mailbox, "end", templates=changes.pop("templates", ""))
        config = {"notify": table, "report": report or {}, "campaign": {"iterations": 10}}
        record = make_campaign(tmp_path / "a b", files=1, config=config, name="Łódź")
        for iteration in (1, 2, 3, 4):
            Path(layout.plot_file(record["folder"], 1, iteration)).write_bytes(PNG)
            used = {"reconstruction": {"cpu_s": 3600, "jobs": 1}, "cpu_s": 60.0}
            run_iteration(record, iteration, **(used | changes))
        (letter,) = mailbox.messages()
    return letter, record


@pytest.mark.slow
def test_the_plot_is_shown_and_all_is_told(tmp_path: Path) -> None:
    """The mail has the last iteration's plot, the weak modes that moved, CPU time, savings, and the page."""
    steps = [{"name": "all", "free_parameters": 66, "parts": {"modes": MODES}, "entries_fixed": []}]
    report = {"publish": str(tmp_path / "pages"), "url": "https://align.example.org/pages/"}
    letter, record = told(tmp_path, report=report, steps=steps)
    _, both = letter.iter_parts()
    html, inline = both.iter_parts()
    assert (inline.get_content_type(), inline.get_filename()) == ("image/png", "convergence.png")
    assert inline.get_content() == PNG
    assert f'src="cid:{str(inline["Content-ID"])[1:-1]}"' in html.get_content()
    text = text_of(letter)
    assert f"Plot: {layout.plot_file(record['folder'], 1, 4)} (shown in e-mails)\n" in text
    assert "Poorly determined directions that moved: 2\n" in text
    assert "- curvature in y: moved by 12.3 µm, not determined by the data\n" in text
    assert "- tilt in x: moved by 0.4 µm, with an error of 5 µm\n" in text
    assert "CPU time: 4 h 04 min\n" in text
    # four of ten ran, with 61 minutes of CPU time each; the test's scripts take negligible wall time
    assert "Saved: 6 of the 10 allowed iterations were not needed: about " in text
    assert "6 h 06 min of CPU time (an estimate by the mean of those that ran)\n" in text
    assert "Page: https://align.example.org/pages/%C5%81%C3%B3d%C5%BA.html\n" in text
    assert letter["Subject"] == "[faser-align] Łódź converged after 4 of 10 iterations"
    assert 'href="https://align.example.org/pages/%C5%81%C3%B3d%C5%BA.html"' in text_of(letter, "html")


@pytest.mark.slow
def test_without_matplotlib_the_message_says_so(tmp_path: Path) -> None:
    """Without a plot the message says why, and attaches nothing, not even an older picture.

    A message omits lines whose numbers (steps, times, corrections) the metrics lack.
    """
    why = "figures need matplotlib, which is not installed for /usr/bin/python3; install faser-align[plot] there"
    nothing: dict[str, Any] = {"steps": [{"parts": {}}, {}], "corrections": {}, "reconstruction": {}, "cpu_s": None}
    letter, _ = told(tmp_path, no_plot=why, **nothing)
    text = text_of(letter)
    assert f"Plot: none: {why}\n" in text
    assert "Weak modes" not in text
    assert "CPU time" not in text
    assert "not needed" in text
    assert list(letter.iter_attachments()) == []
    assert letter.get_content_type() == "multipart/alternative"


@pytest.mark.parametrize("content", [None, b"<script>", PNG + bytes(3_000_000)], ids=["missing", "other", "huge"])
def test_a_picture_that_cannot_be_attached(tmp_path: Path, content: bytes | None) -> None:
    """A missing picture is omitted silently; an invalid or too large one is reported."""
    path = tmp_path / "convergence.png"
    if content is not None:
        path.write_bytes(content)
    found = picture({"plot": str(path), "no_plot": ""})
    assert found == ({} if content is None else {"no_plot": f"{path} is no picture that the Millepede job drew"})
