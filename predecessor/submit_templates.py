"""Convert an edited submit template to keys of ``[htcondor.reco]`` and ``[htcondor.mille]``.

Every line is converted, or reported with the reason why not.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from functools import partial

from faser_align.fsm.errors import UserError
from faser_align.predecessor.references import Entry, Left

UNKNOWN = "unknown key; if you need it, look for an equivalent in docs/configuration.md"

# CERN's job flavours and their limits of wall time (s).
FLAVOURS = {
    "espresso": 1200,
    "microcentury": 3600,
    "longlunch": 7200,
    "workday": 28_800,
    "tomorrow": 86_400,
    "testmatch": 259_200,
    "nextweek": 604_800,
}
_UNITS = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT])?B?", re.IGNORECASE)


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Yield name and value of the lines of a submit description up to ``queue``, with continuation lines joined."""
    for line in re.sub(r"[ \t]*\\\r?\n\s*", " ", text).splitlines():
        if re.match(r"\s*queue\b", line, re.IGNORECASE):
            return
        name, _, value = line.partition("=")
        if name.strip() and not name.lstrip().startswith("#"):
            yield name.strip(), value.strip()


def take_over(text: str, kind: str, origin: str) -> Iterator[tuple[str, Entry] | Left]:
    """Yield the conversion of each line of a template of ``kind``, ``reco`` or ``mille``; the last of equal names counts.

    ``origin`` is the key that names the template.
    """
    for attribute, (name, value) in {_attribute(name): (name, value) for name, value in _lines(text)}.items():
        key, change = _KEYS.get(attribute, ("", _plain))
        key = key.format(kind=kind)
        try:
            if not key:
                raise UserError(_LEFT.get(attribute, UNKNOWN))
            yield key, Entry(change(value), f"{origin}: {name} = {value}")
        except UserError as problem:
            why = f"{problem}; set {key}" if key else str(problem)
            yield Left(f"{origin}: {name}", json.dumps(value, ensure_ascii=False), why)


def _attribute(name: str) -> str:
    """Return the job attribute of a name, in lower case without ``_``: ``+JobFlavour``, ``request_cpus``."""
    return re.sub(r"^(\+|MY\.)", "", name, flags=re.IGNORECASE).lower().replace("_", "")


def _plain(value: str) -> str:
    if re.search(r"[{}]|\$\$?\(", value):
        raise UserError("its value is set by the code of faser-alignment-script")
    return value


def _text(value: str) -> str:
    return _plain(value).strip("\"'")


def _whole(value: str) -> int:
    if not re.fullmatch(r"\d+", _plain(value)):
        raise UserError("it is not a whole number")
    return int(value)


def megabytes(unit: str, value: str) -> int:
    """Return a size of HTCondor in MB; ``unit`` applies to sizes without a unit."""
    match = _SIZE.fullmatch(_plain(value))
    if not match:
        raise UserError("it is not a plain size")
    return math.ceil(float(match[1]) * _UNITS[(match[2] or unit).upper()])


def _flavour_of(value: str) -> str:
    """Return the shortest flavour that is at least as long as a ``MaxRuntime``."""
    wanted = _whole(value)
    return next((name for name, limit in FLAVOURS.items() if limit >= wanted), "nextweek")


# Attributes without + and _, in lower case, and the keys they become.
_KEYS: dict[str, tuple[str, Callable[[str], object]]] = {
    "requestcpus": ("htcondor.{kind}.cpus", _whole),
    "requestmemory": ("htcondor.{kind}.memory_mb", partial(megabytes, "M")),
    "requestdisk": ("htcondor.{kind}.disk_mb", partial(megabytes, "K")),
    "jobflavour": ("htcondor.{kind}.flavour", _text),
    "maxruntime": ("htcondor.{kind}.flavour", _flavour_of),
    "requirements": ("htcondor.{kind}.requirements", _plain),
    "accountinggroup": ("htcondor.{kind}.accounting_group", _text),
}
_LEFT = {
    name: why
    for why, names in {
        "part of a job's submit description; ours are in alignment.dag": """universe executable arguments output error log
            initialdir jobbatchname transferexecutable shouldtransferfiles whentotransferoutput transferinputfiles
            transferoutputfiles transferoutputremaps streamoutput streamerror""",
        "notify.targets names the recipients": "notification notifyuser",
        "htcondor.releases and .release_wait_s control the release of held jobs": """periodicrelease periodichold onexithold
            periodicremove onexitremove""",
        "set variables in your own script, reconstruction.environment": "environment getenv",
        "there is one key, htcondor.retries": "maxretries",
    }.items()
    for name in names.split()
}
