"""Tests of properties see the same examples in each run."""

import importlib
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import SOAK, draw_no_constants


@pytest.mark.skipif(SOAK, reason="a soak looks for new examples")
@pytest.mark.skipif(not (SOAK or draw_no_constants()), reason="no way is known to keep this hypothesis from constants")
def test_examples_do_not_depend_on_what_was_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers and words of modules that other tests have imported are in no example."""
    seen: list[tuple[int, str]] = []

    @given(st.integers(), st.text())
    def look(number: int, word: str) -> None:
        seen.append((number, word))

    look()
    before = list(seen)
    seen.clear()
    (tmp_path / "imported_before.py").write_text(f"NUMBERS = {list(range(1000, 1500))}\nWORDS = {[*'abcdefgh']}\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("imported_before")
    look()
    del sys.modules["imported_before"]
    assert seen == before
