"""Test two weighted runs in one campaign on a real pool, with a dropped file, solved again with other weights."""

import json

from desk import NOTIFY, Desk, simulation
from nowhere import no_job_begins

from faser_align.campaign import layout

CONFIG = (
    simulation(200)
    + """[reconstruction]
raw = "{folder}/raw_{{run}}_{{file}}"
min_files = 0.6
[convergence]
starved_per_parameter = 0.0
"""
    + NOTIFY.replace('["end"]', '["lost", "end"]')
)
RAW = ("011705_00400", "011705_00401", "011706_00001", "011706_00400")
WEIGHTED = '[solver]\nweights = {{ "011706" = {weight} }}\n'


def test_two_runs_with_weights(desk: Desk) -> None:
    """A dropped file is named with its run; other weights change the constants, without ROOT files."""
    for name in RAW:
        (desk.folder / f"raw_{name}").write_bytes(b"raw")
    desk.configure(CONFIG + WEIGHTED, folder=desk.folder, weight=0.5)
    runs = ("-r", "11705", "-f", "400-401", "-r", "11706", "-f", "1,400")
    assert "run 011706, 2 files (1,400)" in desk.run(
        "submit", "-y", "2023", *runs, "-i", "1", "--name", desk.name, "--dry-run"
    )
    desk.run("submit", "-y", "2023", *runs[:-2], "-i", "1", "--name", desk.name, status=2)
    with no_job_begins():
        desk.run("submit", "-y", "2023", *runs, "-i", "1", "--name", desk.name)
        (desk.folder / "raw_011706_00400").unlink()
    desk.wait(desk.name, status=10)

    for told in (desk.letters("dropped"), desk.run("status", desk.name)):
        assert "400 of run 011706" in told
    place = desk.campaign / "iter01" / layout.MILLEPEDE
    steering = "\n".join(path.read_text() for path in place.rglob("*.txt"))
    assert "mp2input_011706_00001.bin -- 0.5" in steering
    metrics = json.loads((place / layout.METRICS).read_text())
    assert metrics["files"]["used"] == 3
    for root in (desk.campaign / "iter01" / layout.KFALIGNMENT).glob("*.root"):
        root.unlink()

    found = {}
    for weight in ("0.5", "2.0", "none"):
        text = CONFIG if weight == "none" else CONFIG + WEIGHTED
        desk.configure(text, "other.toml", folder=desk.folder, weight=weight)
        words = ("solve", "--from", desk.name, "--config", "other.toml", "-o", f"again-{weight}", "--json")
        found[weight] = json.loads(desk.run(*words))["corrections"]
    assert found["0.5"] == metrics["corrections"]
    assert found["2.0"] != found["none"] != found["0.5"] != found["2.0"]
    desk.run("verify", desk.name)
