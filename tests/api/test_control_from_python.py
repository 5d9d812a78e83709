"""Test submitting, controlling and following campaigns from Python on a real pool."""

from pathlib import Path

import pytest
from desk import EXAMPLES, SIMULATION
from nowhere import no_job_begins
from poolcampaigns import make_stub

from faser_align.api import Campaign, UserError, submit
from faser_align.pool.personal import Pool

CONFIG = f'{SIMULATION}[convergence]\nmin_iterations = 9\n[python]\njobs = "{{stub}}/job"\n'


@pytest.mark.pool
def test_a_program_controls_a_campaign(
    pool: Pool, workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Submit, set, stop, resume, extend and fork work as the commands do, and print nothing."""
    monkeypatch.chdir(workdir)
    monkeypatch.setenv("XDG_STATE_HOME", str(workdir / "state"))
    make_stub(workdir / "stub", files=1, iterations=2)
    Path("faser-align.toml").write_text(CONFIG.format(examples=EXAMPLES, stub=workdir / "stub"))
    with no_job_begins():
        campaign = submit(2023, "11705", "400", iterations=1, name="from-python")
        assert not campaign.ended
        campaign.set({"convergence.patience": 3, "notify.events": ["end"]})
        with pytest.raises(UserError, match="is not a key of the configuration"):
            campaign.set({"convergence.patients": 3})
        assert campaign.stop() == "removed"
    assert campaign.resume() > 0
    assert campaign.wait(300) == "exhausted"
    assert campaign.extend(1) > 0
    assert campaign.wait(300) == "exhausted"
    assert [row["iteration"] for row in campaign.iterations()] == [1, 2]
    changed = [row for row in campaign.history(nodes=False) if row["event"] == "changed"]
    assert len(changed) == 2
    with no_job_begins():
        child = campaign.fork(iteration=1, iterations=1, name="fork")
        assert child.record["parent"]["iteration"] == 1
        assert child.start_constants() == campaign.constants(iteration=1)
        child.stop()
    assert sorted(one.name for one in (Campaign("from-python"), Campaign("fork"))) == ["fork", "from-python"]
    assert capsys.readouterr().out == ""
