"""Plan campaigns in a folder, without making them."""

from pathlib import Path
from typing import Any

from faser_align.config.load import parse_config
from faser_align.dag.plan import Plan, campaign_name, plan

START = '"00": [1, 0, 0, 0, 0, 0],"000": [0, 0.5, 0, 0, 0, 0]'
TEXT = 'campaign.folder = "."\ncampaign.constants = "start.txt"\ncampaign.iterations = 2\n'


def plan_of(folder: Path, text: str = TEXT, *, files: int = 2, name: str = "camp", force: bool = False) -> Plan:
    """Return the plan of a campaign with this configuration, whose initial constants are ``start.txt``."""
    config, numbers = parse_config(text, str(folder / "x.toml")), list(range(400, 400 + files))
    name = campaign_name(config, 2023, "011705", numbers, name)
    about = {"year": 2023, "run": "011705", "utc": "2026-11-24T07:30:00Z"}
    return plan(config, text, files=numbers, name=name, force=force, **about)  # type: ignore[arg-type]


def make_plan(folder: Path, extra: str = "", *, files: int = 2, name: str = "camp", force: bool = False) -> Plan:
    """Write ``start.txt`` and return a plan with more lines of the configuration."""
    (folder / "start.txt").write_text(START)
    return plan_of(folder, TEXT + extra, files=files, name=name, force=force)


def no_store(folder: str, record: dict[str, Any]) -> None:
    """Make a placeholder for the state database: one file."""
    Path(folder, "state.db").write_text(record["name"])
