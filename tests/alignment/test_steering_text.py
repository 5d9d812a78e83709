"""Test reading steering texts as pede does, and writing them for both solvers."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from properties import examples

from faser_align.alignment.parameters.labels import PARAMETERS
from faser_align.alignment.pede.keywords import (
    FILE_KINDS,
    KEYWORDS,
    LISTS,
    METHODS,
    Noted,
    Unsupported,
    find_keyword,
    find_method,
    matching,
)
from faser_align.alignment.pede.steering_text import SolverOptions, write_steering
from faser_align.alignment.solver.steering import Binary, SolverError, Steering, parse_steering


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with an empty binary."""
    (tmp_path / "data.bin").touch()
    return tmp_path


def parse(folder: Path, text: str) -> Steering:
    """Parse ``text`` after the line of a binary."""
    (folder / "str.txt").write_text(f"Cfiles\ndata.bin\n{text}\n")
    return parse_steering(folder / "str.txt")


def test_defaults_are_pedes(folder: Path) -> None:
    """Without keywords the values are pede's defaults."""
    steering = parse(folder, "")
    assert steering.binaries == (Binary(folder / "data.bin", 1.0),)
    assert (steering.entries_min, steering.accepted_min, steering.huge_cut, steering.iterations) == (25, 10, 50.0, 1)
    assert (steering.line_search, steering.method, steering.with_errors) == (2, "sparseMINRES", False)


def test_keywords_are_understood(folder: Path) -> None:
    """Keywords are recognised in any letter case, with comments and Fortran exponents."""
    text = """* a comment
ENTRIES 20 5
hugecut 2.0D3   ! another
Method Inversion 4 1.0d-3
chisqcut 30. 6.
outlierdownweighting 4
dwfractioncut 0.2
regularisation 1.0 0.05
skipemptycons
withmultipliers
scaleerrors 2.0
printcounts 2
monitorresiduals
threads 4
end
nonsense after the end"""
    steering = parse(folder, text)
    assert (steering.entries_min, steering.accepted_min) == (20, 5)
    assert (steering.huge_cut, steering.iterations, steering.delta_f_max) == (2000.0, 4, 0.001)
    assert (steering.chi2_cut, steering.downweighting, steering.downweight_max) == ((30.0, 6.0), 4, 0.2)
    assert (steering.regularisation, steering.presigma) == (1.0, 0.05)
    assert steering.skip_empty_constraints
    assert steering.multipliers
    assert (steering.error_scales, steering.counts) == ((2.0, 2.0), 2)
    assert (steering.monitor, steering.threads, steering.notes) == (3, 4, ())
    assert (steering.method, steering.with_errors) == ("inversion", True)


def test_lines_are_taken_apart_as_pede_does(folder: Path) -> None:
    """A percent sign begins a comment, signs and exponents may be separate, halves round up, CR ends a line."""
    (folder / "str.txt").write_bytes(
        b"data.bin\r\nentries 20 10 % of 25\r\nhugecut .5E 2!x\r% all of this 3\rthreads 2.5\rParameter\r"
        b"101 - 0.5 -1.% fixed in 2024\r102 1.d-3 +2.D - 1\rend % not yet\rend\rnonsense"
    )
    with pytest.raises(SolverError, match="line 9: 'end % not yet' is neither"):
        parse_steering(folder / "str.txt")
    (folder / "str.txt").write_bytes((folder / "str.txt").read_bytes().replace(b"end % not yet\r", b""))
    steering = parse_steering(folder / "str.txt")
    assert (steering.entries_min, steering.accepted_min, steering.huge_cut, steering.threads) == (20, 10, 50.0, 3)
    assert steering.parameters == {101: (-0.5, -1.0), 102: (0.001, 0.2)}


def test_a_tab_is_a_letter(folder: Path) -> None:
    """As in pede, tabs may separate numbers, but words only if one wrong letter in five is allowed."""
    assert parse(folder, "entries\t20\t10\nParameter\n101\t0.5\t-1.\n").parameters == {101: (0.5, -1.0)}
    for text in ("method\tinversion 3", "\t101 0.5 -1.", "Cfiles\t", "end\t"):
        with pytest.raises(SolverError, match="put blanks instead") as raised:
            parse(folder, text)
        assert raised.value.code == 13


def test_a_method_may_have_several_words_and_no_limit(folder: Path) -> None:
    """The text before the numbers is the method; without a limit, that of the last line with two numbers applies."""
    steering = parse(folder, "method full MINRES QLP 4 0.5")
    assert (steering.method, steering.iterations, steering.delta_f_max) == ("fullMINRES-QLP", 4, 0.5)
    assert parse(folder, "method inversion 3").delta_f_max == 0.0
    assert parse(folder, "entries 20 10\nhugecut 5\nmethod inversion 3").delta_f_max == 10.0
    assert parse(folder, "method inversion 3 0.1\nmethod diagonalization").iterations == 3


def test_a_misspelt_keyword_is_understood(folder: Path) -> None:
    """One letter in five may be wrong, as in pede."""
    assert parse(folder, "skipemptycon\nhugecutt 7.").skip_empty_constraints
    assert parse(folder, "hugecutt 7.").huge_cut == 7.0


def test_letters_are_compared_as_pede_does() -> None:
    """Letters are compared as in the example of pede's description, with extra, missing and wrong letters."""
    assert matching("keYs", "keyWO RD") == 3
    assert [find_keyword(word) for word in ("constrains", "Parametre", "monitorresidual", "frobnicate")] == [
        "constraint",
        "parameter",
        "monitorresiduals",
        None,
    ]
    assert find_method("sparseMINRES-QLP") == "sparseMINRES-QLP"
    assert find_method("inversoin") == "inversion"
    assert find_method("magic") is None


def test_every_keyword_is_done_noted_or_refused(folder: Path) -> None:
    """Every keyword of pede sets an option, is noted or is rejected."""
    for keyword, does in KEYWORDS.items():
        assert find_keyword(keyword) == keyword.replace("isation", "ization")
        text = {"constraint": "constraint 1", "measurement": "measurement 1 1", "method": "method inversion"}.get(
            keyword, keyword if keyword in LISTS else f"{keyword} 3"
        )
        if isinstance(does, Unsupported):
            with pytest.raises(SolverError, match=f"does not support {keyword} ") as raised:
                parse(folder, text)
            assert raised.value.code == 40
        else:
            noted = parse(folder, text).notes
            assert [note.split()[0] for note in noted] == ([keyword] if isinstance(does, Noted) else [])


def test_entries_and_cuts_are_rounded_as_pede_does(folder: Path) -> None:
    """The third number of entries is a factor; the second chi2 factor is between 1 and the first."""
    assert parse(folder, "entries 20 0 4").entries_iterated == 80
    assert parse(folder, "entries 20 0 4").accepted_min == 10
    assert parse(folder, "iterateentries").entries_iterated == 2**31 - 1
    cuts = {"chisqcut": (1, 1), "chisqcut 5 9": (5, 5), "chisqcut 0.5 3": (-1, 3), "chisqcut 30": (30, 1)}
    for text, cut in cuts.items():
        assert parse(folder, text).chi2_cut == cut
    assert parse(folder, "outlierdownweighting 1").downweighting == 2
    assert parse(folder, "hugecut 0.1").huge_cut == 1.0


def test_lists_go_on_until_the_next_keyword(folder: Path) -> None:
    """Parameters, constraints and measurements have lists of numbers, with one or more pairs per line."""
    text = "Parameter\n1 0.5 -1\n2 0.0 0.05\n3 0.1 0.0 0.1 0.02\nConstraint 0.25\n1 1.0 2 -1.0\n3 2.0\nMeasurement 1.0 0.1\n2 3.0\n"
    steering = parse(folder, text)
    assert steering.parameters == {1: (0.5, -1.0), 2: (0.0, 0.05), 3: (0.1, 0.0)}
    assert steering.constraints == ((0.25, ((1, 1.0), (2, -1.0), (3, 2.0))),)
    assert steering.measurements == ((1.0, 0.1, ((2, 3.0),)),)


def test_lists_go_on_behind_keywords_without_a_list(folder: Path) -> None:
    """Only another list or a method ends a list: neither a keyword in between nor the end of a text."""
    (folder / "more.txt").write_text("3 0.0 -1.\nConstraint 1.0\n1 1.0\nhugecut 7\n2 1.0\n")
    steering = parse(folder, "more.txt\nParameter\n1 0.0 -1.\nthreads 2\n2 0.0 -1.\n")
    assert sorted(steering.parameters) == [1, 2, 3]
    assert steering.constraints == ((1.0, ((1, 1.0), (2, 1.0))),)
    assert (steering.huge_cut, steering.threads) == (7.0, 2)


def test_a_label_with_zeros_only_is_not_known(folder: Path) -> None:
    """A label with zero start, presigma or factor is not stored, as in pede, so it is not in the result."""
    steering = parse(folder, "Parameter\n1 0 0\n2 0 0.1\nConstraint 0\n3 0 4 1\nMeasurement 1 1\n5 0 6 1\n")
    assert list(steering.parameters) == [2]
    assert steering.constraints == ((0.0, ((4, 1.0),)),)
    assert steering.measurements == ((1.0, 1.0, ((6, 1.0),)),)


def test_zeros_never_undo_a_number(folder: Path) -> None:
    """For a repeated label the later number other than zero counts, for start and presigma separately."""
    (folder / "later.txt").write_text("Parameter\n1 0.0 0.0\n2 0.7 0.0\n")
    steering = parse(folder, "later.txt\nParameter\n1 0.002 -1.\n2 0.5 0.05\n")
    assert steering.parameters == {1: (0.002, -1.0), 2: (0.7, 0.05)}


def test_files_may_have_weights_and_follow_others(folder: Path) -> None:
    """A binary may have a weight; file names distinguish texts from binaries."""
    (folder / "more.bin").touch()
    (folder / "last.bin").touch()
    steering = parse(folder, "more.bin -- 0.5\nfortranfiles\nlast.bin\n")
    assert steering.binaries == (
        Binary(folder / "data.bin", 1.0),
        Binary(folder / "more.bin", 0.5),
        Binary(folder / "last.bin", 1.0, fortran=True),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rootfiles", "cannot read rootfiles"),
        ("method magic 3", "'magic' is not a method of pede"),
        ("frobnicate 3", "'frobnicate 3' is neither"),
        ("missing.bin", "'missing.bin' is neither"),
        *(
            (text, "before any keyword")
            for text in ("1 2 3", "hugecut 3\n1 2", "Parameter\n1 0 -1\nmethod inversion 3\n2 0 -1")
        ),
        *((text, "label start presigma") for text in ("Parameter\n1 2", "Parameter\n0 2 3")),
        *((text, "label factor") for text in ("Constraint 0\n1 2 3", "Constraint 0\n-1 2")),
        *((text, "too large") for text in ("matiter 1e999", "Parameter\n1 1e999 0")),
        ("Constraint\n1 2", "does not have 0 numbers"),
        ("Measurement 1\n1 2", "does not have 1 numbers"),
        ("presigma", "needs 1 number"),
        ("entries 1e308 1 1e308", "cannot convert"),
        ("method 3", "needs a name"),
        ("Parameter 1 0.5", "does not have 2 numbers"),
        ("Parameter 1 0.5 -1 4", "does not have 4 numbers"),
    ],
)
def test_what_is_not_understood_is_refused(folder: Path, text: str, words: str) -> None:
    """An unknown line stops with code 13 and is quoted with its file; ROOT files are code 40, an unknown method 36."""
    with pytest.raises(SolverError, match=re.escape(words)) as raised:
        parse(folder, text)
    assert raised.value.code == {"rootfiles": 40, "method magic 3": 36}.get(text, 13)
    assert raised.value.code != 13 or "str.txt" in str(raised.value)


def test_without_binaries_nothing_can_be_solved(tmp_path: Path) -> None:
    """Without an existing binary the code is 14."""
    (tmp_path / "str.txt").write_text("Cfiles\nmissing.bin\n")
    with pytest.raises(SolverError, match="no Mille binary") as raised:
        parse_steering(tmp_path / "str.txt")
    assert raised.value.code == 14


texts = st.one_of(
    st.text(max_size=80),
    st.text(alphabet="PaprmetC 0123.-e\n!*end", max_size=80),
    st.lists(
        st.tuples(
            st.sampled_from([*KEYWORDS, *FILE_KINDS, *(f"method {method}" for method in METHODS), "", "*", "end"]),
            st.lists(st.sampled_from(["1", "0", "-1", "25", "0.05", "1e999", "1d-3", "x", "!", "2 3"]), max_size=4),
        ).map(lambda pair: " ".join([pair[0], *pair[1]])),
        max_size=6,
    ).map("\n".join),
)


@given(texts)
@example("entries 1e308 1 -1e308")
@example("entries 1e999 1 0")
@settings(max_examples=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_text_is_read_or_refused(folder: Path, text: str) -> None:
    """Any text is parsed or rejected with a code of pede and one sentence."""
    code, message = 13, ""
    try:
        parse(folder, text)
    except SolverError as error:
        code, message = error.code, str(error)
    assert code in (13, 36, 40)
    assert "\n" not in message


@given(
    st.dictionaries(st.sampled_from(sorted(PARAMETERS)), st.floats(-1, 1).map(lambda x: float(f"{x:.6g}"))),
    st.sets(st.sampled_from(sorted(PARAMETERS)), max_size=40),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_written_texts_are_read_back(folder: Path, starts: dict[int, float], fixed: set[int]) -> None:
    """The parser reads back what is written for a step."""
    options = SolverOptions(presigma_mm=0.07, presigma_rad=0.007, threads=2, options=("presigma 0.5",))
    steering = parse_steering(write_steering(folder, [folder / "data.bin"], fixed, starts, options))
    assert set(steering.parameters) == set(PARAMETERS)
    for label, (start, presigma) in steering.parameters.items():
        assert start == starts.get(label, 0.0)
        assert presigma == (-1.0 if label in fixed else 0.07 if PARAMETERS[label].translation else 0.007)
    assert steering.presigma == 0.5
