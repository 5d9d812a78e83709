"""Match keywords of pede's steering texts and translate them to options of the built-in solver.

Matching follows pede (MATINT of mptext): letters are compared in order, ignoring case, and the first keyword of its
list that agrees in 80 % of the letters is taken. The list has every keyword of pede V05-01-03: each one sets an option, or
has no effect on the built-in solver and is noted, or is not supported and ends the run.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from faser_align.alignment.pede.steering_words import nearest, take_apart
from faser_align.fsm.errors import UserError

Numbers = list[float]
Values = dict[str, Any]  # attributes of Steering

_BINS_MAX, _THREADS_MAX, _LOCAL_ITERATIONS_MAX = 10_000, 256, 100

LISTS = ("parameter", "constraint", "measurement", "method", "comment")
FILE_KINDS = ("cfiles", "fortranfiles", "rootfiles", "closeandreopen")


class Noted(str):
    """Why a keyword has no consequence for the built-in solver."""


class Unsupported(str):
    """Why a keyword, which would change the result, cannot be had with the built-in solver."""


class Method(NamedTuple):
    """A method as pede's log names it (METSOL), and whether it gives errors."""

    number: int
    title: str
    with_errors: bool = False


METHODS = {
    "diagonalization": Method(2, "diagonalization", with_errors=True),
    "inversion": Method(1, "matrix inversion", with_errors=True),
    **dict.fromkeys(("fullMINRES", "sparseMINRES"), Method(4, "MINRES")),
    **dict.fromkeys(("fullMINRES-QLP", "sparseMINRES-QLP"), Method(5, "MINRES-QLP")),
    "decomposition": Method(3, "decomposition"),
    **dict.fromkeys(("fullLAPACK", "unpackedLAPACK", "sparsePARDISO"), Method(7, "LAPACK factorization")),
}
"""Methods of pede in its order."""


def matching(pattern: str, text: str) -> int:
    """Return how many letters of ``pattern`` occur in ``text`` in the same order."""
    pattern, text = pattern.lower(), text.lower()
    i = j = matched = last = 0
    while i < len(pattern) and j < len(text):
        if pattern[i] == text[j]:
            matched, i, j = matched + 1, i + 1, j + 1
            continue
        left, right = len(pattern) - i, len(text) - j
        if left == right:  # equal length: skip one letter on either side in turn
            i, last = i + last, 1 - last
            j += last
        elif left > right:
            i, last = i + 1, 0
        else:
            j, last = j + 1, 1
    return matched


def agrees(word: str, keyword: str) -> bool:
    """Return whether a word matches a keyword."""
    return 100 * matching(word, keyword) >= 80 * max(len(word), len(keyword))


@lru_cache
def find_keyword(word: str) -> str | None:
    """Return the keyword that a word matches; None if there is none."""
    return next((keyword for keyword in KEYWORDS if agrees(word, keyword)), None)


@lru_cache
def find_method(name: str) -> str | None:
    """Return the method that a name matches, the last one of pede's list if several do; None if there is none."""
    return next((method for method in reversed(METHODS) if agrees(name, method)), None)


def _first(numbers: Numbers) -> float:
    if not numbers:
        raise ValueError("needs 1 number")
    return numbers[0]


def _entries(numbers: Numbers) -> Values:
    names = ("entries_min", "accepted_min")
    values: Values = {name: nearest(number) for name, number in zip(names, numbers, strict=False) if number > 0.5}
    if len(numbers) > 2 and numbers[2] > 0.5:
        values["entries_iterated"] = nearest(numbers[0] * numbers[2])
    return values


def _chi2_cut(numbers: Numbers) -> Values:
    if not numbers:
        return {"chi2_cut": (1.0, 1.0)}
    # a first factor below 1 disables all cuts in the first pass, which a negative value tells the solver
    first = numbers[0] if numbers[0] >= 1 else -1.0
    second = max(numbers[1] if len(numbers) > 1 else 1.0, 1.0)
    return {"chi2_cut": (first, min(second, first) if first >= 1 else second)}


def _regularisation(numbers: Numbers) -> Values:
    values: Values = {"regularisation": numbers[0] if numbers else 1.0}
    return values | ({"presigma": numbers[1]} if len(numbers) > 1 else {})


def _downweighting(numbers: Numbers) -> Values:
    count = nearest(_first(numbers))
    if count > _LOCAL_ITERATIONS_MAX:
        raise ValueError(f"takes {_LOCAL_ITERATIONS_MAX} iterations at most")
    return {"downweighting": max(count, 2) if count > 0 else 0}


def _scales(numbers: Numbers) -> Values:
    first = numbers[0] if numbers else 1.0
    return {"error_scales": (first, numbers[1] if len(numbers) > 1 else first)}


def _monitor(numbers: Numbers) -> Values:
    values: Values = {"monitor": nearest(numbers[0]) if numbers else 3}
    if len(numbers) > 1:
        if numbers[1] > _BINS_MAX:
            raise ValueError(f"takes {_BINS_MAX} bins at most")
        values["monitor_bins"] = max(100, nearest(numbers[1]))
    return values


def _set(name: str, kind: Callable[[float], Any], default: float | None = None) -> Callable[[Numbers], Values]:
    """Return a setter for the first number, which is required without a default."""

    def setter(numbers: Numbers) -> Values:
        return {name: kind(default if default is not None and not numbers else _first(numbers))}

    return setter


def _on(name: str, value: object = True) -> Callable[[Numbers], Values]:
    return lambda numbers: {name: value}


def _optional(name: str, kind: Callable[[float], Any]) -> Callable[[Numbers], Values]:
    """Return a setter that does nothing without a number."""
    return lambda numbers: {name: kind(numbers[0])} if numbers else {}


_PRINTING = Noted("it requests more printing")
_STORAGE = Noted("it is about pede's storage")
_MINRES = Noted("it tunes pede's MINRES; here the solution is exact to 1e-6 of the parameters' errors")
_PARDISO = Unsupported("it belongs to pede with PARDISO; use method inversion")

KEYWORDS: dict[str, Callable[[Numbers], Values] | Noted | Unsupported | None] = {
    **dict.fromkeys(LISTS),
    "print": _PRINTING,
    "debug": _PRINTING,
    "entries": _entries,
    "printrecord": _PRINTING,
    "maxrecord": lambda numbers: {"records_max": nearest(numbers[0])} if numbers and numbers[0] > 0 else {},
    "cache": _STORAGE,
    "chisqcut": _chi2_cut,
    "hugecut": _optional("huge_cut", lambda number: max(1.0, number)),
    "linesearch": _optional("line_search", nearest),
    "localfit": Noted("it chooses how pede solves local fits"),
    "regularization": _regularisation,
    "regularisation": _regularisation,
    "presigma": _set("presigma", float),
    "matiter": _set("matrix_iterations", nearest),
    "matmoni": _PRINTING,
    "bandwidth": _MINRES,
    "outlierdownweighting": _downweighting,
    "dwfractioncut": _set("downweight_max", lambda number: min(0.5, number)),
    "maxlocalcond": Unsupported("it rejects records by the condition of band matrices"),
    "pullrange": _set("pull_range", abs),
    "subito": _on("subito"),
    "force": _on("force"),
    "memorydebug": _PRINTING,
    "globalcorr": _on("correlations"),
    "printcounts": _set("counts", nearest, 1),
    "weightedcons": Unsupported("weighted constraints change the solution"),
    "skipemptycons": _on("skip_empty_constraints"),
    "resolveredundancycons": Unsupported("it changes constraints that depend on each other"),
    "withelimination": _on("multipliers", False),
    "postprocessing": Unsupported("it runs a command"),
    "withLAPACKelimination": Unsupported("it belongs to pede with LAPACK; use withelimination"),
    "withmultipliers": _on("multipliers"),
    "checkinput": _set("check_level", nearest, 1),
    "checkparametergroups": _PRINTING,
    "monitorresiduals": _monitor,
    "monitorpulls": lambda numbers: {**_monitor(numbers), "monitor_pulls": True},
    "monitorprogress": _PRINTING,
    "scaleerrors": _scales,
    "iterateentries": _set("entries_iterated", nearest, 2**31 - 1),
    "threads": _optional("threads", lambda number: min(max(1, nearest(number)), _THREADS_MAX)),
    "compress": _STORAGE,
    "countrecords": _on("count_records"),
    "errlabels": Unsupported("errors of MINRES for single labels; use method inversion, which has all"),
    "pairentries": Unsupported("it drops elements of the matrix"),
    "wolfe": Unsupported("it changes the line search"),
    "mrestol": _MINRES,
    "mrestranscond": _MINRES,
    "mresmode": _MINRES,
    "nofeasiblestart": _on("feasible_start", False),
    "histprint": _PRINTING,
    "readerroraseof": _on("read_error_is_end"),
    "LAPACKwitherrors": Unsupported("it belongs to pede with LAPACK; use method inversion"),
    "outlierfracwarnthreshold": _set("rejected_max", lambda percent: 100.0 * percent, 1.0),
    "debugPARDISO": _PARDISO,
    "blocksizePARDISO": _PARDISO,
    "pardiso": _PARDISO,
}
"""All that are recognised by most of their letters, in the order in which pede tries them, and what they do.

A keyword begins a list or names the method (None), or sets options.
"""


def check_lines(lines: Iterable[str], key: str, backend: Literal["builtin", "pede"]) -> None:
    """Raise UserError for a line that would end the run.

    Args:
        lines: steering lines, in order.
        key: key of the configuration, for the message.
        backend: pede supports keywords that the built-in solver does not.

    Raises UserError for an unknown keyword, an unknown method, and ``end``, after which nothing would be read.
    """
    for line in lines:
        whole, word, argument, _ = take_apart(line)
        if not word or not (word[0].isalpha() or word[0] == "\t"):
            continue
        where = f"{key} has {line.strip()!r}"
        if whole.lower() == "end":
            raise UserError(f"{where}, after which nothing is read; remove it: faser-align writes it last")
        if whole.lower() in FILE_KINDS or "." in whole.split(" ")[0]:
            continue
        keyword = find_keyword(word)
        if keyword is None:
            tab = "put blanks instead of tabs, which are letters to pede" if "\t" in whole else "correct it"
            raise UserError(f"{where}, but {word!r} is not a keyword of pede; {tab}")
        if keyword == "method" and argument and find_method(argument) is None:
            raise UserError(f"{where}, but pede's methods are {', '.join(METHODS)}")
        does = KEYWORDS[keyword]
        if backend == "builtin" and isinstance(does, Unsupported):
            raise UserError(f"{where}, which the built-in solver does not support: {does}")
