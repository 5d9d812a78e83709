"""Test that finding the schedd gives one sentence for every error of the bindings."""

import htcondor2
import pytest

from faser_align.fsm.errors import UserError
from faser_align.pool.schedd import schedd


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (htcondor2.HTCondorException("Failed to connect.\nmore"), r"\(Failed to connect\)"),
        (KeyError("MyAddress"), r"\(the collector does not know its address\)"),
    ],
)
def test_a_schedd_that_cannot_be_found_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, problem: Exception, said: str
) -> None:
    """An exception of the bindings, also KeyError for an ad without MyAddress, becomes a UserError with a fix."""

    def fail() -> None:
        raise problem

    monkeypatch.setattr(htcondor2, "Schedd", fail)
    with pytest.raises(UserError, match=f"no HTCondor schedd answers {said}; work on an access point"):
        schedd("system")
