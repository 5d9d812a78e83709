"""Hooks whose receivers are silent, down, or refuse: nobody waits longer than the alarm, and nobody else's message suffers."""

import importlib.util
import sys
from pathlib import Path


def test_a_silent_server_delays_no_hook_beyond_its_alarm(tmp_path: Path) -> None:
    """Several HOLDs and FINAL with one silent target end within their alarms; the other target gets every message once."""
    path = Path(__file__).parents[2] / "benchmarks" / "delivery.py"
    spec = importlib.util.spec_from_file_location("benchmark_delivery", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    found = module.wait(tmp_path, alarm_s=3.0, final_s=4.0, hooks=3)
    assert found.statuses[-1] == 4
    assert set(found.statuses[:-1]) == {0}
    slack_s = 4.0  # starting the hook and loading its libraries, on a machine that is busy
    assert max(found.hold_s) < 3.0 + slack_s
    assert found.final_s < 4.0 + slack_s
    assert found.pre_s < 3.0
    assert found.letters[0] == found.letters[1] > 0
