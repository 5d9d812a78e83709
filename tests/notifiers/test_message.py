"""Test the content of a message in its three forms."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sending import deliver, spelled

from faser_align.campaign.layout import RUN
from faser_align.notifiers.mailbox import Mailbox
from faser_align.notifiers.message import MARKDOWN_MAX, Message, compose
from faser_align.notifiers.targets import Target
from faser_align.operations import samples
from faser_align.system.formatting import symbols

NAME = "Y2023_R011705_F400-450"

SUBJECTS = {
    "submitted": f"[faser-align] {NAME} submitted",
    "iteration": f"[faser-align] {NAME} continues after 4 of 10 iterations",
    "held": f"[faser-align] {NAME} has a held job in iteration 4 of 10",
    "lost": f"[faser-align] {NAME} dropped a file in iteration 4 of 10",
    "converged": f"[faser-align] {NAME} converged after 4 of 10 iterations",
    "exhausted": f"[faser-align] {NAME} exhausted after 4 of 10 iterations",
    "diverged": f"[faser-align] {NAME} diverged in iteration 4 of 10",
    "stalled": f"[faser-align] {NAME} stalled in iteration 4 of 10",
    "starved": f"[faser-align] {NAME} starved in iteration 4 of 10",
    "rejected": f"[faser-align] {NAME} rejected after 4 of 10 iterations",
    "failed": f"[faser-align] {NAME} failed in iteration 4 of 10",
    "removed": f"[faser-align] {NAME} removed in iteration 4 of 10",
    "test": f"[faser-align] {NAME} test message",
}


class _Words(HTMLParser):
    """The visible words of the page, and the tags around them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words = ""
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self._style = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        self._style = tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.words += f" {data}"


def _parts(message: Message) -> list[str]:
    """Return the words of text, HTML and Markdown without markup."""
    markdown = re.sub(r"\\([\\`*_{}\[\]<>#|~])", r"\1", message.markdown).replace("\u200b", "")
    return [" ".join(part.split()) for part in (message.text, _Words(message.html).words, markdown)]


def test_message_of_a_converged_campaign(facts: dict[str, Any]) -> None:
    """The text of a converged campaign's message is exactly this."""
    assert compose(facts).text == (
        """\
Y2023_R011705_F400-450 converged after 4 of 10 iterations

The alignment has converged: the effect of 0.20 µm is below 0.5 µm for 2 iterations.

State: converged
Progress: iteration 4 of 10
χ²/ndf: 1.003; previous iteration: 1.004
Expected residual shift: 0.20 µm; previous iteration: 0.41 µm
Expected Δχ² per parameter: 0.02; previous iteration: 0.041
Largest correction: 2.6 µm of module.y 003; previous iteration: 5.3 µm of module.y 003

Iterations
iteration  files  tracks  χ²/ndf  residual shift [µm]  largest correction
        1    6/6  16,999   1.310                 9.10  118.3 µm of module.y 003
        2    6/6  16,998   1.050                 1.20  15.6 µm of module.y 003
        3    5/6  16,997   1.004                 0.41  5.3 µm of module.y 003
        4    5/6  16,996   1.003                 0.20  2.6 µm of module.y 003

Dropped files: 1
- file 417 (reco_s1_i03_00417): raw file missing or unreadable

Where to look
Solver: end code 1, Ended with warnings (bad measurements)
Wall time: 3 min 12 s
Constants: /eos/align/Y2023_R011705_F400-450/iter04/3millepede/inputforalign.txt
Folder: /eos/align/Y2023_R011705_F400-450

Next:
  faser-align history Y2023_R011705_F400-450

Y2023_R011705_F400-450/17 · 2026-11-24T07:30:00Z
"""
    )


@pytest.mark.parametrize("event", SUBJECTS)
def test_every_event_says_the_same_in_all_parts(facts: dict[str, Any], event: str) -> None:
    """Subject, sentence, table, failures, held jobs and dropped files are in text, HTML and Markdown alike."""
    facts["event"] = facts["state"] = event
    facts["held"] = [{"node": "reco_s1_i04_00418", "reason": "memory use exceeded the request"}]
    facts["failed"] = [
        {"node": "mille_s1_i04", "why": "no solution", "cure": "read millepede.log", "log": ["  STOP 26", "singular"]}
    ]
    facts |= {
        "weak": [{"name": "curvature in y", "moved_um": 12.34, "error_um": None}],
        "saved": {"iterations": 6, "allowed": 10, "wall_s": 7200.0, "cpu_s": 90_000.0},
        "cpu_s": 60_000.0,
        "no_plot": "matplotlib is not installed",
        "page": "https://align.example.org/pages/A%20B.html",
    }
    message = compose(facts)
    assert message.subject == SUBJECTS[event]
    words = [
        message.subject.removeprefix("[faser-align] "),
        symbols(facts["reason"]),
        "118.3 µm of module.y 003",
        "16,999",
    ]
    words += ["reco_s1_i04_00418", "memory use exceeded the request", "mille_s1_i04", "no solution", "STOP 26"]
    words += ["Fix: read millepede.log", "417", "raw file missing or unreadable", facts["solver"], "3 min 12 s"]
    words += [
        facts["constants"],
        facts["steps"][0][1],
        facts["key"],
        "1.003",
        "previous iteration: 1.004",
        facts["page"],
    ]
    words += ["curvature in y", "moved by 12.3 µm, not determined by the data", "none: matplotlib is not installed"]
    words += [
        "16 h 40 min",
        "6 of the 10 allowed iterations were not needed: about 2 h 00 min of wall time and 25 h 00 min",
    ]
    for part in _parts(message):
        for word in words:
            assert word in part


def _spoken(part: str) -> list[str]:
    """Return the words in order, without markup and punctuation."""
    words = (text.strip(":|*`.,") for text in part.split())
    return [word for word in words if any(map(str.isalnum, word))]


@pytest.mark.parametrize("event", SUBJECTS)
def test_all_parts_say_the_same_words_in_the_same_order(smtp_server: Mailbox, event: str) -> None:
    """Delivered text and HTML, and Markdown, have the same words for the sample of every event."""
    facts = samples.facts("2026-11-25T12:00:00Z", event) | {"page": "https://align.example.org/a.html"}
    facts |= {"constants": "/data/iter03/inputforalign.txt", "folder": "/data", "notes": ["a file was changed by hand"]}
    for place, key in enumerate(("held", "failed", "files_lost")):
        facts[key] = [{"node": f"n{n}", "why": f"{key} {n}", "log": ["a", "b - c"]} for n in range(20 * place + 2)]
    facts |= {"event": event}
    message = compose(facts)
    assert deliver(Target("me", smtp_server.url("me@example.org")), message, key="1", thread="t") is None
    (letter,) = smtp_server.messages()
    plain, page = letter.get_body(("plain",)), letter.get_body(("html",))
    assert plain is not None
    assert page is not None
    parts = (plain.get_content(), _Words(page.get_content()).words, _parts(message)[2])
    text, html, markdown = map(_spoken, parts)
    title = _spoken(message.subject.removeprefix("[faser-align]"))
    assert html == [*title, *text]
    assert markdown == text


def test_a_reason_is_said_once(facts: dict[str, Any]) -> None:
    """A reason listed with its node is not repeated in the sentence, nor a one-line log below its reason."""
    why = "raw file missing or unreadable: /r/417 is not there"
    failed = {"node": "reco_s1_i01_00417", "why": why, "cure": "put it in place", "log": ["/r/417 is not there"]}
    text = compose(facts | {"event": "failed", "reason": f"reco_s1_i01_00417: {why}", "failed": [failed]}).text
    assert text.count("/r/417") == 1
    failed["log"] = ["reading", "/r/417 is not there"]
    assert "  | reading\n" in compose(facts | {"event": "failed", "failed": [failed]}).text


@pytest.mark.parametrize(
    ("jobs", "subject", "sentence"),
    [
        (1, "has a held job in", "put a job of the campaign on hold, until it is released or removed."),
        (9, "has 9 held jobs in", "put 9 jobs of the campaign on hold, until they are released or removed."),
        (1200, "has 1,200 held jobs in", "put 1,200 jobs of the campaign on hold, until they are released or removed."),
    ],
)
def test_a_hold_says_how_many_jobs(facts: dict[str, Any], jobs: int, subject: str, sentence: str) -> None:
    """Subject and sentence have the number of jobs, and the list has the reason, once."""
    held = [{"node": f"n{i}", "job": f"{i}.0", "reason": "too large", "cure": "make room"} for i in range(jobs)]
    message = compose(facts | {"event": "held", "reason": "n0: too large", "count": jobs, "held": held})
    assert subject in message.subject
    for form in (message.text, message.html, message.markdown):
        assert f"HTCondor {sentence}" in form
        assert form.count("too large") == 1


def test_a_message_has_one_next_command(facts: dict[str, Any]) -> None:
    """Only the next command is shown, because its output names later ones; sentences without a command stay."""
    then = [("then export the constants", "faser-align constants export x -o x.txt"), ("or do nothing", "")]
    held = [("then release the job", "condor_release 7.0")]
    message = compose(facts | {"steps": [*held, *facts["steps"], *then]})
    for part in _parts(message):
        assert "constants export" not in part
        assert "Or do nothing." in part
        assert part.count("condor_release 7.0") == part.count(f"faser-align history {NAME}") == 1


def test_small_numbers_are_not_nothing(facts: dict[str, Any]) -> None:
    """A very small largest correction is shown with two digits, and a very small residual shift as <0.01, instead of 0.00."""
    facts["rows"][-1]["largest"]["value"] = -0.0005123
    facts["rows"][-1]["effect_um"] = 0.00354
    text = compose(facts).text
    assert text.count("-0.00051 µm of module.y 003") == 2
    assert "Expected residual shift: <0.01 µm; previous iteration: 0.41 µm\n" in text
    assert " <0.01  -0.00051 µm" in text


def test_the_largest_correction_has_its_error_and_its_size_in_errors(facts: dict[str, Any]) -> None:
    """Every part shows the largest correction with its error, where it is known, and the number of standard deviations."""
    facts["rows"][-1]["largest"] |= {"value": -276.3, "error": 40.2}
    for part in _parts(compose(facts)):
        assert "-280 ± 40 µm (6.9 σ) of module.y 003" in part


def test_logs_that_are_left_out_are_counted(facts: dict[str, Any]) -> None:
    """Of nodes with the same problem one log is shown, with its node and the number of the others."""
    first = {"node": "n1", "why": "crashed", "log": ["reading", "no geometry"]}
    for others, words in ((2, "the other 2 logs are not shown"), (1, "the other log is not shown")):
        failed = [first, *({"node": f"n{n + 2}", "why": "crashed"} for n in range(others))]
        message = compose(facts | {"event": "failed", "failed": failed})
        assert f"\n  End of the log of n1; {words}\n  | reading\n" in message.text
        for form in (message.html, message.markdown):
            assert f"End of the log of n1; {words}" in form
    assert "not shown" not in compose(facts | {"event": "failed", "failed": [first]}).text


def test_nodes_that_the_same_befell_are_told_together(facts: dict[str, Any]) -> None:
    """A reason is shown once for all its nodes, with their total number."""
    failed = [{"node": f"reco_s1_i01_{file:05d}", "why": "disk full", "cure": "make room"} for file in range(50)]
    failed.append({"node": "reco_s1_i01_00077", "why": "no output"})
    text = compose(facts | {"event": "failed", "failed": failed}).text
    assert "Failed: 51\n" in text
    named = "reco_s1_i01_00000, reco_s1_i01_00001, reco_s1_i01_00002 and 47 more"
    assert f"- {named}: disk full\n  Fix: make room\n" in text
    assert "- reco_s1_i01_00077: no output\n" in text
    assert " more\n" not in text


def test_reasons_that_are_alike_are_told_together(facts: dict[str, Any]) -> None:
    """Thousands of reasons that differ in hosts, files and job numbers are one item, in the words of the first."""
    held = [{"node": f"n{n}", "reason": f"no answer of wn{n:04d}.cern.ch:9618 (errno 110)"} for n in range(3000)]
    told = {"event": "held", "reason": f"n0 and 3,000 more: {held[0]['reason']}"}
    text = compose(facts | told | {"held": [*held, {"node": "m", "reason": "over quota"}]}).text
    said = "no answer of wn0000.cern.ch:9618 (errno 110) (reason of the first; the others are similar)"
    assert f"Held: 3,001\n- n0, n1, n2 and 2,997 more: {said}\n- m: over quota\n" in text
    assert text.count("errno 110") == 1


def test_a_file_of_several_runs_is_named_with_its_run(facts: dict[str, Any]) -> None:
    """A dropped file is named by its number, and in a campaign of several runs by its run, too."""
    facts["files_lost"] = [{"file": 400, "why": "no output"}, {"file": 11706 * RUN + 1, "why": "raw file missing"}]
    text = compose(facts).text
    assert "- file 400: no output" in text
    assert "- file 1 of run 011706: raw file missing" in text


def test_stages_are_named(facts: dict[str, Any]) -> None:
    """With several stages subject and table name the stage."""
    facts |= {"stage": 2, "stages": 3}
    facts["rows"][-1]["stage"] = 2
    message = compose(facts)
    assert message.subject.endswith("converged after 4 of 10 iterations (stage 2 of 3)")
    assert re.search(r"^ +2\.4 ", message.text, re.MULTILINE)


def test_least_facts() -> None:
    """Campaign, event and state suffice for a message; an event of a later version is shown by its name."""
    assert compose({"campaign": "A", "event": "failed", "state": "failed"}).subject == "[faser-align] A failed"
    assert compose({"campaign": "A", "event": "paused", "state": "paused"}).subject == "[faser-align] A paused"
    message = compose({})
    assert message.subject == "[faser-align] campaign test message"
    assert message.text == "campaign test message\n\nThis is a test; nothing happened to the campaign.\n\nState: test\n"
    assert "<h2" not in message.html
    assert "None" not in "".join(_parts(message))


def test_numbers_that_are_missing_or_not_finite(facts: dict[str, Any]) -> None:
    """A missing number is a dash, one that is not finite is a word."""
    facts["rows"] = [{"iteration": 1, "chi2_per_ndf": float("nan"), "effect_um": None, "tracks": "many"}]
    facts["wall_s"] = float("inf")
    row = next(row for row in compose(facts).text.splitlines() if "not finite" in row and row.startswith(" "))
    assert row.split() == ["1", "-", "-", "not", "finite", "-", "-"]


def test_long_lists_are_cut_with_a_count(facts: dict[str, Any]) -> None:
    """Of many files, held jobs, iterations and remarks a few are shown and the rest is counted."""
    notes = [f"note {number}" for number in range(9)]
    text = compose(facts | {"rows": facts["rows"][:1] * 13, "notes": notes}).text
    assert "The 1 iteration before these is not shown." in text
    assert "Note: note 3\nNotes: and 5 more, which status shows\n" in text
    facts["files_lost"] = [{"file": n, "why": f"no output {spelled(n)}"} for n in range(1200)]
    facts["rows"] = facts["rows"][:1] * 40
    facts["failed"] = [{"node": f"reco_{n}", "why": spelled(n) + "x" * 900, "log": ["y" * 300] * 50} for n in range(50)]
    message = compose(facts)
    for part in _parts(message):
        assert "Dropped files: 1,200" in part
        assert "The 28 iterations before these are not shown." in part
        assert "Failed: 50" in part
    assert "and 1,192 more" in message.text
    assert "and 42 more" in message.html
    assert len(message.markdown) <= MARKDOWN_MAX
    assert max(map(len, message.text.splitlines())) < 700


HOSTILE = "<script>alert(1)</script>\r\nBcc: all@example.org\n![x](http://evil/) @all | `rm` ``` **b** \u202e\"'"


def test_hostile_names_stay_words(facts: dict[str, Any]) -> None:
    """A name cannot become a header, a tag, an attribute, a link, a table cell or a mention."""
    facts |= {"campaign": HOSTILE, "reason": HOSTILE, "solver": HOSTILE, "steps": [(HOSTILE, HOSTILE)], "key": HOSTILE}
    facts["rows"][0]["largest"] |= {"where": HOSTILE, "dof": HOSTILE}
    facts["failed"] = [{"node": HOSTILE, "why": HOSTILE, "cure": HOSTILE, "log": [HOSTILE, "```", HOSTILE]}]
    message = compose(facts)
    assert not re.search(r"[\r\n\u202e]", message.subject)
    page = _Words(message.html)
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.words
    assert not {"href", "src", "onclick"} & {name for name, _ in page.attributes}
    outside = re.sub(r"\\.", "", message.markdown)
    outside = re.sub(r"(?ms)^```$.*?^```$|`[^`\n]*`", "", outside).replace("residual shift [µm]", "")
    assert not re.search(r"[<\[`]|@all|@example", outside)
    table = [row for row in message.markdown.splitlines() if row.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in table} == {7}


def test_page_asks_nothing_of_anybody(facts: dict[str, Any]) -> None:
    """The HTML loads nothing, runs nothing, and supports dark mode and small screens."""
    html = compose(facts).html
    assert not re.search(r"https?:|url\(|<script|<img|@import", html)
    assert "prefers-color-scheme: dark" in html
    assert "width=device-width" in html


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
_ROW = st.dictionaries(st.sampled_from(["iteration", "stage", "tracks", "effect_um", "largest", "node", "log"]), _ANY)


_FACTS = dict.fromkeys(("campaign", "event", "reason", "iteration", "iterations", "stages", "wall_s"), _ANY)
_FACTS |= dict.fromkeys(("rows", "held", "failed", "files_lost"), st.lists(_ROW, max_size=3))


@given(st.fixed_dictionaries({}, optional=_FACTS))
def test_any_facts_make_a_message(facts: dict[str, Any]) -> None:
    """Values of the wrong type in the payload still give a message."""
    message = compose(facts)
    assert message.subject.startswith("[faser-align] ")
    assert message.text
    assert len(message.markdown) <= MARKDOWN_MAX


def test_colour_by_state(facts: dict[str, Any]) -> None:
    """Chat shows the state by the colour of the first character, the page by that of a bar."""
    for event, tone, light in (
        ("converged", "success", "\U0001f7e2"),
        ("exhausted", "warning", "\U0001f7e0"),
        ("failed", "failure", "\U0001f534"),
        ("submitted", "info", "\U0001f535"),
    ):
        message = compose(facts | {"event": event})
        assert message.tone == tone
        assert message.markdown.startswith(f"{light} **Y2023")
        assert f'class="state {tone}"' in message.html


def test_weak_modes_that_are_nonsense(facts: dict[str, Any]) -> None:
    """Modes without a finite move are omitted; of many modes the first are shown and the others counted."""
    facts["weak"] = [{"name": "a", "moved_um": value} for value in (0.01, None, "far", float("nan"), True)]
    assert "Weak modes" not in compose(facts).text
    facts["weak"] = [{"name": f"mode {number}", "moved_um": 1.0 + number, "error_um": 2.0} for number in range(30)]
    text = compose(facts).text
    assert "Poorly determined directions that moved: 30\n- mode 29: moved by 30 µm, with an error of 2 µm\n" in text
    assert "  and 22 more\n" in text


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        ({"iterations": 1, "allowed": 5}, "Saved: 1 of the 5 allowed iterations was not needed\n"),
        ({"iterations": 2, "allowed": 5, "cpu_s": float("nan"), "wall_s": 60}, "about 1 min 00 s of wall time (an"),
        ({"iterations": 0, "allowed": 5, "cpu_s": 1.0}, ""),
        ("nothing", ""),
    ],
)
def test_what_was_saved(facts: dict[str, Any], saved: object, said: str) -> None:
    """Only known costs of iterations that were not needed are shown, and none if there were no such iterations."""
    text = compose(facts | {"saved": saved}).text
    assert said in text
    assert ("Saved" in text) == bool(said)


def test_colours_of_a_log_are_left_out(facts: dict[str, Any]) -> None:
    """Colour codes in a job's log are removed."""
    why = "no output: \x1b[1;31mFATAL\x1b[0m no geometry"
    failed = {"node": "n", "why": why, "log": ["\x1b[33mWARNING\x1b[0m", "\x1b]0;title\x07b"]}
    text = compose(facts | {"event": "failed", "failed": [failed]}).text
    assert "- n: no output: FATAL no geometry\n  | WARNING\n  | b\n" in text


def test_a_grade_that_is_not_good_has_its_advice(facts: dict[str, Any]) -> None:
    """The message says what to do about lines of the quality block that are not good; older versions have no advice."""
    line = {"title": "Momenta", "grade": "look", "text": "positive +2.0 %", "advice": "check the field map"}
    older = {"title": "Precision", "grade": "bad", "text": "x +-9.0 um"}
    good = {**line, "title": "Validation", "grade": "good", "advice": "name unused files"}
    quality = {"grade": "bad", "sentence": "Precision: x +-9.0 um.", "lines": [line, good, older]}
    text = compose({**facts, "event": "converged", "quality": quality}).text
    listed = "- Precision (bad): x ±9.0 µm\n- Momenta (look): positive +2.0 %\n  Fix: check the field map\n"
    assert f"Quality, not good: 2\n{listed}" in text
    assert "name unused files" not in text


def test_a_validation_is_shown_with_both_constants() -> None:
    """The message of a rejected campaign has the validation as a table, as in `status`, in every form."""
    groups = {
        name: {when: {"tracks": 5660, "chi2_per_ndf": value} for when, value in (("before", 1.003), ("after", after))}
        for name, after in (("all", 1.0199), ("unused", 1.5))
    }
    why = "the new constants describe the data worse: chi2/ndf of all files went from 1.003 to 1.02"
    message = compose(
        {"campaign": NAME, "event": "rejected", "reason": why, "validation": groups, "constants": "/c.txt"}
    )
    assert "\nRejected constants: /c.txt\n" in message.text
    assert (
        "\nValidation\n"
        "files           tracks  χ²/ndf before  χ²/ndf after\n"
        "all files        5,660          1.003         1.020\n"
        "files not used   5,660          1.003         1.500\n"
    ) in message.text
    assert (
        "**Validation**\n\n"
        "| files | tracks | χ²/ndf before | χ²/ndf after |\n"
        "|:---|---:|---:|---:|\n"
        "| all files | 5,660 | 1.003 | 1.020 |\n"
        "| files not used | 5,660 | 1.003 | 1.500 |\n"
    ) in message.markdown
    assert '<td class="words">files not used</td><td>5,660</td><td>1.003</td><td>1.500</td></tr>' in message.html
    for part in _parts(message):
        assert part.count("describe the data worse") == 1
