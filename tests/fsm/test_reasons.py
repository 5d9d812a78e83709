"""Test the normalisation of nodes' reasons."""

import pytest

from faser_align.fsm.reasons import normalise_reason


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("exit status 139: core dumped", "exit status 139: core dumped"),
        ("killed by signal 9", "killed by signal 9"),
        ("used 1234 MB of 999", "used * MB of 999"),
        ("disk full on b7s14p0123.cern.ch (file_00417.root)", "disk full on * *"),
    ],
)
def test_what_differs_from_node_to_node_is_left_out(reason: str, told: str) -> None:
    """Short numbers stay in a normalised reason; sizes, hosts, files and jobs are removed."""
    assert normalise_reason(reason) == told
