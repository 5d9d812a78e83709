"""Test a shared folder of published pages: foreign files are kept and cause no error."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from campaigns import hook, make_campaign, run_iteration
from commandline import Command

from faser_align.campaign import layout
from faser_align.fsm.errors import CampaignError
from faser_align.pages.collect import collect
from faser_align.pages.publish import entries, publish

pytestmark = pytest.mark.slow

NOW = "2026-11-25T12:00:00.000Z"
ODD = {
    "nothing else": '{"faser-align": 1}',
    "a list": "[]",
    "other kinds": '{"faser-align": 1, "name": 5, "state": null, "created_utc": 3, "written_utc": [1]}',
    "infinite": '{"faser-align": 1, "files": 1e400, "iterations": 1.5, "chi2_per_ndf": NaN}',
    "deep": "[" * 100_000,
    "cut": '{"faser-align": 1, "na',
}


@pytest.fixture(scope="module")
def record(session_folder: Path) -> dict[str, Any]:
    """Provide a campaign with one iteration, which tests only read."""
    made = make_campaign(session_folder / "published" / "c", files=1, name="c")
    run_iteration(made, 1)
    return made


def test_broken_entries_are_passed_over(record: dict[str, Any], workdir: Path) -> None:
    """The index is written whatever files with an entry's suffix are in the folder."""
    pages = workdir / "pages"
    pages.mkdir()
    for name, text in ODD.items():
        (pages / f"{name}.json").write_text(text)
        with open(os.fsencode(pages) + b"/\xff" + name.encode() + b".json", "w") as file:
            file.write(text)
    os.mkfifo(pages / "pipe.json")
    publish(record["folder"], str(pages), written_utc=NOW)
    assert [entry["name"] for entry in entries(str(pages))] == ["c"]


def test_what_is_none_of_ours_stays(record: dict[str, Any], workdir: Path) -> None:
    """A home page and a foreign file of the campaign's name are not replaced; one sentence names the file and the fix."""
    pages = workdir / "pages"
    pages.mkdir()
    home, page = pages / "index.html", pages / "c.html"
    home.write_text("<h1>my home page</h1>")
    with pytest.raises(CampaignError, match=r"index\.html is not an index of faser-align and was not changed"):
        publish(record["folder"], str(pages), written_utc=NOW)
    assert home.read_text() == "<h1>my home page</h1>"
    home.unlink()
    page.write_text("mine")
    with pytest.raises(CampaignError, match=r"c\.html is not a page of this campaign and was not changed"):
        publish(record["folder"], str(pages), written_utc=NOW)
    assert page.read_text() == "mine"
    page.unlink()
    publish(record["folder"], str(pages), written_utc=NOW)
    publish(record["folder"], str(pages), written_utc=NOW)
    assert "Alignment campaigns" in home.read_text()


def test_another_campaign_of_the_same_name_is_not_replaced(record: dict[str, Any], workdir: Path) -> None:
    """Two campaigns of one name cannot share a page; a moved or resubmitted one keeps its own."""
    first, second = record, make_campaign(workdir / "b" / "c", files=1, name="c")
    pages = workdir / "pages"
    publish(first["folder"], str(pages), written_utc=NOW)
    before = (pages / "c.html").read_text()
    told = json.loads((pages / "c.json").read_text())
    (pages / "c.json").write_text(json.dumps({**told, "created_utc": "2026-01-01T00:00:00.000Z"}))
    with pytest.raises(CampaignError, match="has the same name, and was not changed; publish to another folder"):
        publish(second["folder"], str(pages), written_utc=NOW)
    assert (pages / "c.html").read_text() == before
    publish(first["folder"], str(pages), written_utc=NOW)
    (pages / "c.json").write_text(json.dumps({**told, "folder": "/elsewhere"}))
    publish(first["folder"], str(pages), written_utc=NOW)


def test_the_name_of_the_index_is_taken(workdir: Path) -> None:
    """A campaign called index is refused in one sentence, because its page would be the index."""
    record = make_campaign(workdir / "c", files=1, name="index")
    with pytest.raises(CampaignError, match="a campaign with the name index cannot be published"):
        publish(record["folder"], str(workdir / "pages"), written_utc=NOW)
    assert not (workdir / "pages").exists()


def test_check_says_what_is_in_the_way(workdir: Path, plain_command: Command) -> None:
    """``check`` warns of an invalid folder for pages, or one with a foreign index, and names the key."""
    home = workdir / "www"
    home.mkdir()
    config = workdir / "faser-align.toml"

    def told(where: Path) -> dict[str, str]:
        config.write_text(f'[report]\npublish = "{where}"\n')
        rows = json.loads(plain_command("check", "--config", str(config), "--json").out)
        found: dict[str, str] = next(row for row in rows if row["name"] == "published page")
        return found

    assert told(home / "new" / "pages")["result"] == "ok"
    (home / "index.html").write_text("mine")
    assert "index.html is not an index of faser-align" in told(home)["text"]
    assert (
        told(config / "pages")["text"]
        == f"no report will be published: {config} is not a folder; correct report.publish"
    )


def test_final_publishes_the_page(workdir: Path) -> None:
    """FINAL's script writes the page into the folder for pages; its time limit is that of jobs."""
    record = make_campaign(workdir / "c", files=1, config={"report": {"publish": str(workdir / "pages")}})
    run_iteration(record, 1)
    assert hook("final", record["folder"], "final", 4, 0).returncode == 4
    assert (workdir / "pages" / f"{record['name']}.html").exists()


def test_a_campaign_ends_without_its_page(workdir: Path) -> None:
    """If pages cannot be written, the campaign still converges, and hooks.log has the reason."""
    record = make_campaign(workdir / "c", files=1, config={"report": {"publish": "/proc/none"}})
    assert [run_iteration(record, at) for at in range(1, 5)] == [0, 0, 0, 42]
    assert hook("final", record["folder"], "final", 0, 0).returncode == 0
    assert collect(record["folder"]).campaign["state"] == "converged"
    log = (workdir / "c" / layout.HOOKS_LOG).read_text()
    assert "report.publish = /proc/none cannot be written: No such file or directory" in log


def test_who_waits_for_a_page_loads_nothing_of_it() -> None:
    """The script that publishes a page does not import numpy, templates and charts; the child process does."""
    asked = "import sys; from faser_align.pages import bounded; print({'numpy', 'jinja2', 'faser_align.pages.publish'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
