"""Test that the documentation agrees with the code."""

import re
from itertools import product
from pathlib import Path

import pytest
from described import is_described

from faser_align import api
from faser_align.campaign import layout
from faser_align.cli import main, refresh
from faser_align.fsm import table
from faser_align.reference import meanings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])


def test_generated_parts_are_up_to_date() -> None:
    """The generated commands, keys, states, exit statuses, schema and tables equal those of the code."""
    old = [name for name, text in refresh.pages().items() if (DOCS / name).read_text(encoding="utf-8") != text]
    for (page, name), text in refresh.blocks().items():
        if refresh.between((DOCS / page).read_text(encoding="utf-8"), name)[1] != text:
            old.append(f"{page}: {name}")
    assert old == [], refresh.HINT


def test_refreshing_makes_the_same_pages_anew(tmp_path: Path) -> None:
    """Refreshing updates outdated pages and names them; the second time nothing changes."""
    (tmp_path / "images").mkdir()
    for path in [*DOCS.glob("*.md"), *DOCS.glob("images/*.svg")]:
        (tmp_path / path.relative_to(DOCS)).write_bytes(path.read_bytes())
    (tmp_path / "states.md").write_text("old")
    page = tmp_path / "alignment.md"
    text = page.read_text()
    page.write_text(text.replace("<!-- counts -->\n", "<!-- counts -->\nanother table\n"))
    assert {"states.md", "alignment.md"} <= set(refresh.refresh(tmp_path))
    assert page.read_text() == text
    assert refresh.refresh(tmp_path) == []


def test_every_file_is_explained() -> None:
    """The page of files has each file and folder of a campaign that the program knows by name."""
    page = (DOCS / "files.md").read_text(encoding="utf-8")
    nodes = {"FINAL_NODE", "VALIDATE_NODE"}
    names = {
        value for key, value in vars(layout).items() if key.isupper() and isinstance(value, str) and key not in nodes
    }
    unknown = [name for name in sorted(names) if name not in page and not is_described(name)]
    assert [name for name in unknown if not name.startswith(".")] == []


def test_the_page_of_python_names_the_whole_api() -> None:
    """The page of Python names everything that ``faser_align.api`` exports, and each method of a campaign."""
    page = (DOCS / "python.md").read_text(encoding="utf-8")
    members = [f"Campaign.{name}" for name in vars(api.Campaign) if not name.startswith("_")]
    assert [name for name in (*api.__all__, *members) if f"`{name}`" not in page and f"{name}(" not in page] == []


def test_every_state_and_event_has_a_meaning() -> None:
    """Every state and event of the tables has a meaning, and every meaning its state or event."""
    assert list(meanings.STATES) == list(table.STATES)
    assert list(meanings.NODE_STATES) == list(table.NODE_STATES)
    assert set(meanings.EVENTS) == {event for _, event, _ in (*table.CAMPAIGN, *table.NODE)} | set(table.NOTES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of the documentation leads to an existing file."""
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text) + re.findall(r'src="([^"]+)"', text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_pictures_are_small() -> None:
    """The documentation shows pages and mail in light and dark mode, on a phone and on paper; its pictures are small."""
    pictures = {path.name: path.stat().st_size for path in (DOCS / "images").glob("*.png")}
    forms = product(("report", "compare", "index", "mail"), ("", "-dark", "-phone", "-print"))
    assert {"report-failed.png", "status.png", *(f"{page}{form}.png" for page, form in forms)} <= set(pictures)
    assert max(pictures.values()) < 150_000
    assert sum(pictures.values()) < 1_600_000


def test_every_picture_is_shown_and_described() -> None:
    """Each picture is on a page, with a text for readers who do not see it."""
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *DOCS.glob("*.md")))
    shown = re.findall(r"!\[([^]]*)\]\((?:docs/)?images/([^)]+)\)", text)
    shown += [(alt, name) for name, alt in re.findall(r'src="(?:docs/)?images/([^"]+)" alt="([^"]*)"', text)]
    assert {name for _, name in shown} == {path.name for path in (DOCS / "images").iterdir()}
    assert [name for alt, name in shown if len(alt) < 10] == []


def unknown(typed: str) -> list[str]:
    """Return words of a command (without ``faser-align``) that the program does not know."""
    command, found = main.root(), []
    for word in (word.strip(",.:;()[]") for word in typed.split()):
        inner = getattr(command, "commands", None)
        if inner is not None:
            if word.startswith("-"):
                continue
            if word not in inner:
                return [*found, word]
            command = inner[word]
        elif re.match(r"--?[a-z]", word):
            known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
            found += [word] if word.partition("=")[0] not in known | {"--help"} else []
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    """Each command in backquotes and in blocks of code exists, with its options."""
    text = page.read_text(encoding="utf-8").replace("\\|", "|")
    typed = re.findall(r"`faser-align ([a-z][^`\n]*)`", text)
    typed += re.findall(r"^ {4,}(?:\$ )?faser-align ([a-z][^\n#|]*)", text, re.MULTILINE)
    assert {command: words for command in typed if (words := unknown(command.partition("|")[0]))} == {}
