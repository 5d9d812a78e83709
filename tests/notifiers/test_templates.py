"""Test message templates: per event, the user's first, and ours if they fail."""

import time
from pathlib import Path
from typing import Any

import pytest

from faser_align.fsm import table
from faser_align.notifiers import templates
from faser_align.notifiers.message import MARKDOWN_MAX, compose
from faser_align.notifiers.targets import EVENTS, Target

OURS = Path(templates.__file__).parents[1] / "templates" / "messages"
FORMS = {"txt": "text", "html": "html", "md": "markdown"}


def test_every_event_has_a_template() -> None:
    """Every event that a target may receive, and each end of a campaign, has its own template."""
    assert {path.name.removesuffix(".j2") for path in OURS.glob("*.j2")} >= (EVENTS - {"end"}) | set(table.ENDS)


def test_words_of_the_user(facts: dict[str, Any], tmp_path: Path) -> None:
    """The user's template of an event sets all three forms; missing parts are ours, other events are unchanged."""
    (tmp_path / "converged.j2").write_text(
        '{% set subject = "Hurra: " ~ campaign ~ " steht " ~ after %}{% set parts = ["details", "numbers"] %}'
    )
    message = compose(facts, str(tmp_path))
    assert message.problems == ()
    assert message.subject == f"[faser-align] Hurra: {facts['campaign']} steht after 4 of 10 iterations"
    assert message.tone == "success"
    assert "The alignment has converged: the effect" in message.text
    for form in FORMS.values():
        text = getattr(message, form)
        assert "Hurra" in text
        assert text.index("Folder") < text.index("χ²/ndf")
        assert "16,999" not in text
    assert compose(facts | {"event": "failed"}, str(tmp_path)) == compose(facts | {"event": "failed"})


def test_the_full_stop_of_a_meaning(facts: dict[str, Any], tmp_path: Path) -> None:
    """A colon and the reason replace the full stop of a meaning."""
    (tmp_path / "converged.j2").write_text('{% set meaning = "Done." %}')
    assert "Done: the effect" in compose(facts, str(tmp_path)).text


@pytest.mark.parametrize("form", FORMS)
def test_a_form_of_the_user(facts: dict[str, Any], tmp_path: Path, form: str) -> None:
    """A form of one event takes precedence over that of all, which takes precedence over ours; other forms are ours."""
    (tmp_path / f"message.{form}.j2").write_text("all: {{ view.campaign }}")
    (tmp_path / f"failed.{form}.j2").write_text("<b>failed</b>: {{ view.state }}\n")
    facts["campaign"] = "<script>"
    failed = compose(facts | {"event": "failed", "state": "failed"}, str(tmp_path))
    other = compose(facts, str(tmp_path))
    assert getattr(failed, FORMS[form]).strip() == "<b>failed</b>: failed"
    assert getattr(other, FORMS[form]).strip() == ("all: &lt;script&gt;" if form == "html" else "all: <script>")
    for one in FORMS.values():
        if one != FORMS[form]:
            assert getattr(other, one) == getattr(compose(facts), one)


def test_ours_can_be_extended(facts: dict[str, Any], tmp_path: Path) -> None:
    """A template of the user may extend ours, whose name begins with ours/."""
    (tmp_path / "message.txt.j2").write_text('{% include "ours/message.txt.j2" %}\nGreetings from the shift\n')
    (tmp_path / "converged.j2").write_text(
        '{% import "ours/converged.j2" as ours with context %}{% set subject = ours.subject ~ "!" %}'
    )
    message = compose(facts, str(tmp_path))
    assert message.problems == ()
    assert message.text.endswith("Greetings from the shift\n")
    assert "The alignment has converged" in message.text
    assert message.subject.endswith("iterations!")


BROKEN = {
    "syntax": ("{% if %}", "line 1: TemplateSyntaxError"),
    "unknown": ("{{ nonsense.more }}", "UndefinedError: 'nonsense' is undefined"),
    "escape": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "SecurityError"),
    "missing": ('{% include "nowhere.j2" %}', "TemplateNotFound: nowhere.j2"),
    "outside": ('{% include "../secret" %}', "TemplateNotFound"),
    "division": ("\n\n{{ 1 / 0 }}", "ZeroDivisionError"),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("name", ["converged.j2", "converged.html.j2", "message.txt.j2", "message.md.j2"])
def test_a_broken_template_falls_back(facts: dict[str, Any], tmp_path: Path, name: str, kind: str) -> None:
    """A template that cannot be used is named once with the reason, and ours is used."""
    text, reason = BROKEN[kind]
    (tmp_path / name).write_text(text)
    message, ours = compose(facts, str(tmp_path)), compose(facts)
    (said,) = message.problems
    assert said.startswith(f"{tmp_path / name} cannot be used: ")
    assert reason in said
    assert said.endswith("; the program's own is used")
    assert all(getattr(message, part) == getattr(ours, part) for part in ("subject", *FORMS.values()))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{% set parts = ["numbers", "jokes"] %}', "parts must be a list of numbers, urgent"),
        ("{% set subject = 7 %}", "subject must be text"),
        ('{% set tone = "purple" %}', "tone must be info, success, warning or failure"),
    ],
)
def test_words_that_are_none(facts: dict[str, Any], tmp_path: Path, text: str, reason: str) -> None:
    """Variables of the wrong type are reported, and ours are used."""
    (tmp_path / "converged.j2").write_text(text)
    message = compose(facts, str(tmp_path))
    assert reason in message.problems[0]
    assert message.text == compose(facts).text


@pytest.mark.parametrize(
    ("text", "reason"), [("{# later #}\n", "it writes nothing"), (r"{{ '\ud800' }}", "UnicodeEncodeError")]
)
@pytest.mark.parametrize("form", FORMS)
def test_a_message_that_no_server_accepts_is_ours(
    facts: dict[str, Any], tmp_path: Path, form: str, text: str, reason: str
) -> None:
    """A template whose message is empty, or cannot be encoded, is reported and not used."""
    (tmp_path / f"message.{form}.j2").write_text(text)
    message = compose(facts, str(tmp_path))
    assert reason in message.problems[0]
    assert getattr(message, FORMS[form]) == getattr(compose(facts), FORMS[form])


def test_a_template_without_an_end(facts: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A template that does not end is stopped well before the delivery's own alarm."""
    monkeypatch.setattr(templates, "CPU_S_MAX", 0.2)
    numbers = "range(99999)"
    (tmp_path / "message.html.j2").write_text(
        f"{{% for a in {numbers} %}}{{% for b in {numbers} %}}{{% endfor %}}{{% endfor %}}"
    )
    started = time.process_time()
    message = compose(facts, str(tmp_path))
    assert time.process_time() - started < 5
    assert "it did not end within 0.2 s of CPU time" in message.problems[0]
    assert message.html == compose(facts).html


def test_markdown_that_is_too_long(facts: dict[str, Any], tmp_path: Path) -> None:
    """A template that makes a post too long for a chat server is not used."""
    (tmp_path / "message.md.j2").write_text("{{ 'x' * 20000 }}")
    message = compose(facts, str(tmp_path))
    assert "it makes more than 16,000 characters" in message.problems[0]
    assert message.markdown == compose(facts).markdown
    assert len(message.markdown) <= MARKDOWN_MAX


def test_a_folder_that_is_not_there(facts: dict[str, Any], tmp_path: Path) -> None:
    """A missing folder of templates is reported, and the message uses ours."""
    message = compose(facts, str(tmp_path / "gone"))
    assert message.problems == (
        f"notify.templates = {tmp_path / 'gone'} is not a readable folder; the program's own templates are used",
    )
    assert message.text == compose(facts).text


def test_an_event_cannot_name_a_file(facts: dict[str, Any], tmp_path: Path) -> None:
    """An event named like a path finds no template outside the folder."""
    (tmp_path / "in").mkdir()
    (tmp_path / "x.txt.j2").write_text("outside")
    assert "outside" not in compose(facts | {"event": "../x"}, str(tmp_path / "in")).text


@pytest.mark.parametrize(
    ("address", "forms"),
    [
        ("mailto://me@example.org", {"txt", "html"}),
        ("mmosts://mattermost.web.cern.ch/token", {"md"}),
        ("json://localhost", {"txt"}),
    ],
)
def test_only_the_forms_that_a_target_shows_are_written(
    facts: dict[str, Any], tmp_path: Path, address: str, forms: set[str]
) -> None:
    """Forms that are not requested stay empty, and their broken templates are not reported."""
    for form in FORMS.keys() - forms:
        (tmp_path / f"message.{form}.j2").write_text("{% if %}")
    message, ours = compose(facts, str(tmp_path), Target("me", address).forms), compose(facts)
    assert message.problems == ()
    for form, part in FORMS.items():
        assert getattr(message, part) == (getattr(ours, part) if form in forms else "")
