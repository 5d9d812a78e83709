"""Test making a campaign's folder atomically."""

import hashlib
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from plans import START, make_plan, no_store, plan_of

from faser_align.campaign.data import parse_data
from faser_align.campaign.manifest import data_of, read_record
from faser_align.config.load import parse_config
from faser_align.dag.create import create_campaign
from faser_align.dag.plan import campaign_name
from faser_align.fsm.errors import StoreError, UserError


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_campaign_without_raw_files_is_refused(workdir: Path) -> None:
    """A campaign without raw files is not planned."""
    with pytest.raises(UserError, match=r"^there are no raw files; name them with -f$"):
        make_plan(workdir, files=0)


def test_a_campaign_has_all_it_begins_with(workdir: Path) -> None:
    """Manifest, configuration, DAG, initial constants, state database and all folders exist, and no more."""
    create_campaign(make_plan(workdir), no_store)
    camp = workdir / "camp"
    files = {"campaign.json", "campaign.toml", "alignment.dag", "state.db", "iter01/1reco/inputforalign.txt"}
    assert {name for name in tree(camp) if (camp / name).is_file()} == files
    for part in ("1reco/logs", "2kfalignment", "3millepede/logs"):
        assert (camp / "iter02" / part).is_dir()
    assert (camp / "iter01/1reco/inputforalign.txt").read_text() == START
    record = read_record(str(camp))
    assert record["folder"] == record["data"] == str(camp)
    assert record["constants"]["sha256"] == hashlib.sha256(START.encode()).hexdigest()
    assert sorted(path.name for path in workdir.iterdir()) == ["camp", "start.txt"]
    assert ".new" not in (camp / "alignment.dag").read_text()


def test_the_number_of_files_does_not_grow(workdir: Path) -> None:
    """A campaign with thirty times the nodes has the same number of files."""
    counts = []
    for name, files in (("small", 10), ("large", 300)):
        create_campaign(make_plan(workdir, files=files, name=name), no_store)
        counts.append(len(tree(workdir / name)))
    assert counts[0] == counts[1]


def test_large_files_may_lie_elsewhere(workdir: Path) -> None:
    """With storage.data the folders for large files are made there too, under the campaign's name."""
    (workdir / "eos").mkdir()
    create_campaign(make_plan(workdir, 'storage.data = "eos"'), no_store)
    assert (workdir / "eos/camp/iter02/2kfalignment").is_dir()
    assert read_record(str(workdir / "camp"))["data"] == str(workdir / "eos/camp")


def test_an_existing_campaign_is_refused(workdir: Path) -> None:
    """An existing campaign of that name, and any other folder, stays unchanged."""
    create_campaign(make_plan(workdir), no_store)
    before = tree(workdir)
    with pytest.raises(UserError, match=r"the campaign .*/camp already exists.*--name.*--force"):
        make_plan(workdir)
    (workdir / "other").mkdir()
    with pytest.raises(UserError, match=r"the folder .*/other already exists"):
        make_plan(workdir, name="other")
    assert tree(workdir) == before | {"other"}


def test_force_moves_the_old_one_aside(workdir: Path) -> None:
    """With force the old campaign is renamed, and undo restores its name."""
    create_campaign(make_plan(workdir), no_store)
    (workdir / "camp/mine").write_text("kept")
    created = create_campaign(make_plan(workdir, force=True), no_store)
    assert (workdir / "camp.old-20261124T073000Z/mine").read_text() == "kept"
    assert not (workdir / "camp/mine").exists()
    created.close()
    assert (workdir / "camp/mine").read_text() == "kept"
    assert sorted(path.name for path in workdir.iterdir()) == ["camp", "start.txt"]


def test_large_files_move_aside_too(workdir: Path) -> None:
    """A campaign that was moved aside has its own large files; a copy has those of the campaign."""
    (workdir / "eos").mkdir()
    create_campaign(make_plan(workdir, 'storage.data = "eos"'), no_store)
    (workdir / "eos/camp/mine").write_text("kept")
    create_campaign(make_plan(workdir, 'storage.data = "eos"', force=True), no_store)
    for name, mine in (("camp", False), ("camp.old-20261124T073000Z", True)):
        folder = str(workdir / name)
        assert Path(data_of(folder, read_record(folder)), "mine").exists() == mine
    shutil.copytree(workdir / "camp", workdir / "copy")
    assert data_of(f"{workdir}/copy", read_record(f"{workdir}/copy")) == str(workdir / "eos/camp")


def test_what_goes_wrong_on_the_way_leaves_nothing(workdir: Path) -> None:
    """If the state database cannot be made, no part of the campaign is left."""

    def broken(folder: str, record: dict[str, Any]) -> None:
        raise StoreError("no store today")

    with pytest.raises(StoreError):
        create_campaign(make_plan(workdir), broken)
    assert sorted(path.name for path in workdir.iterdir()) == ["start.txt"]


def test_a_campaign_that_appears_meanwhile_is_not_overwritten(workdir: Path) -> None:
    """Of two simultaneous submissions one makes the campaign, and the other is refused."""
    planned = make_plan(workdir)

    def late(folder: str, record: dict[str, Any]) -> None:
        (workdir / "camp").mkdir(exist_ok=True)
        (workdir / "camp/theirs").write_text("")

    with pytest.raises(UserError, match="already exists"):
        create_campaign(planned, late)
    assert tree(workdir) == {"start.txt", "camp", "camp/theirs"}


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ('campaign.constants = "none.txt"', "none.txt"),
        ('campaign.constants = ""', "there are no initial constants"),
        ('campaign.constants = "."', "cannot read"),
        ('campaign.folder = "/tmp"', "under /tmp, which DAGMan refuses"),
        ('campaign.folder = "none"', "mkdir -p"),
        ('storage.data = "none"', "storage.data"),
        ('reconstruction.raw = "raw/{run}/{file}.raw"', "2 of 2 raw files do not exist"),
        ('simulation.truth = "none.txt"', "none.txt"),
        ('solver.method = "inverse 3 0.001"', "solver.method has 'method inverse 3 0.001', but pede's methods are"),
        ('htcondor.reco.requirements = "(A == 1"', "htcondor.reco.requirements = (A == 1 is not a ClassAd expression"),
        (
            'htcondor.mille.requirements = "A == 1 # why"',
            "htcondor.mille.requirements = A == 1 # why is not a ClassAd expression",
        ),
    ],
)
def test_what_is_missing_is_said_before_anything_is_written(workdir: Path, extra: str, said: str) -> None:
    """Each missing file, folder or program gets one sentence, and nothing is written."""
    key = extra.partition(" ")[0]
    lines = ['campaign.folder = "."', 'campaign.constants = "start.txt"', "campaign.iterations = 2", extra]
    text = "\n".join(line for line in lines if line is extra or not line.startswith(f"{key} "))
    (workdir / "start.txt").write_text(START)
    with pytest.raises(UserError) as caught:
        plan_of(workdir, text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert tree(workdir) == {"start.txt"}


def test_missing_raw_files_are_counted_and_the_first_named(workdir: Path) -> None:
    """Missing files are counted and three are named; existing ones are not."""
    (workdir / "raw").mkdir()
    (workdir / "raw/011705-00401.raw").write_text("")
    with pytest.raises(UserError) as caught:
        make_plan(workdir, 'reconstruction.raw = "raw/{run}-{file}.raw"', files=6)
    assert "5 of 6 raw files do not exist" in str(caught.value)
    assert "00400.raw" in str(caught.value)
    assert "00403.raw, ..." in str(caught.value)
    assert "00401.raw" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(workdir: Path) -> None:
    """A folder without write permission is named before anything is written."""
    (workdir / "closed").mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    text = 'campaign.folder = "closed"\ncampaign.constants = "start.txt"'
    (workdir / "start.txt").write_text(START)
    with pytest.raises(UserError, match=r"campaign\.folder = .*/closed: cannot write"):
        plan_of(workdir, text)


def test_names_come_from_the_template_or_the_user(workdir: Path) -> None:
    """A name comes from the template unless the user gives one; an invalid folder name is refused."""
    config = parse_config("[campaign]", "/x.toml")
    assert campaign_name(config, 2023, "011705", list(range(400, 451))) == "Y2023_R011705_F400-450"
    assert campaign_name(config, 2023, "011705", [400, 402]) == "Y2023_R011705_F400_402"
    run, files = parse_data(["11705", "1"], ["400-402,405", "7"])
    assert campaign_name(config, 2023, run, files) == "Y2023_R000001+011705_F7+400-402_405"
    assert campaign_name(config, 2023, "011705", [400], "my own") == "my own"
    text = 'campaign.name = "Y{year}_R{run}_ST{stations}_I{iterations}_{constants}"\ncampaign.constants = "from/align_2025.txt"'
    filled = campaign_name(parse_config(text, "/x.toml"), 2023, "011705", [400])
    assert filled == "Y2023_R011705_ST4_I10_align_2025"
    for bad in ("a/b", "../x", ".hidden", "a\nb", "x" * 101, "-f"):
        with pytest.raises(UserError, match="is not a valid campaign name") as refused:
            campaign_name(config, 2023, "011705", [400], bad)
        assert ("must begin with a letter or a digit" in str(refused.value)) == (bad[0] in ".-")
    with pytest.raises(UserError, match="--name"):
        campaign_name(config, 2023, "011705", list(range(0, 200, 2)))
