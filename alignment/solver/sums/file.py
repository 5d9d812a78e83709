"""Define the file of sums of a Mille binary: the normal equations of its records with every label free.

The first line names the format and a checksum of everything after it. The second line is a JSON object with the numbers
and the shapes of the arrays, whose bytes follow.
"""

import json
import os
from dataclasses import dataclass, fields
from hashlib import blake2b
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from faser_align.alignment.arrays import FloatArray, Int32Array, IntArray
from faser_align.fsm.errors import UserError
from faser_align.system.atomic import Name, replacing

VERSION = 3  # of the format and of the meaning of the sums; a file of another version is not used
_MAGIC = b"faser-align sums"
_SAMPLE = 1 << 16  # bytes at each end of a binary that its checksum covers


@dataclass(frozen=True)
class FileSums:
    """Sums over the records of a binary where all parameters are zero, without the records near a cut.

    Attributes:
        binary: checksum of the binary that they belong to.
        huge_cut: ``hugecut`` that rejects records; ``has_chi2_cut``: whether ``chisqcut`` may reject them, too.
        margin: change of all measurements of a record, in units of their errors, that moves no record across a cut,
            except those near it.
        chi2, ndf, rejects: as in ``Pass``.
        records, equations, locals_max, equations_max, doubles: as in ``Source``, of all records.
        labels: all labels of the binary, ascending. ``upper``: upper triangle of their matrix, row by row.
        gradient: negative gradient of half the chi2. ``accepted``: entries in accepted records.
        sets: shape (places, sets): labels of each set. ``set_counts``, ``set_sigmas``: as in ``Source``, of all records.
        pulls_low, pulls_high: shape (places, sets): range of the derivatives over errors of each label of a set.
        sizes, not_stored: shape (numbers, 2): number and count, as in ``Source``, of all records.
        near_words, near_lengths: the records near a cut, as in the binary, and the first word of each.
        histograms, extremes: of each ``SummedHistogram`` of all records' first pass.
        first_labels, monitored: labels that come first in an equation, and their residuals in bins, as in ``Monitor``.
        turned_labels, turned_upper, turned_gradient: labels, matrix and gradient of the same tracks with derivatives
            about the layers' own z; empty if they are the same or unknown.
    """

    binary: str
    huge_cut: float
    has_chi2_cut: bool
    margin: float
    chi2: float
    ndf: int
    rejects: tuple[int, int, int, int]
    records: int
    equations: int
    locals_max: int
    equations_max: int
    doubles: bool
    labels: IntArray
    upper: FloatArray
    gradient: FloatArray
    accepted: IntArray
    sets: IntArray
    set_counts: IntArray
    set_sigmas: FloatArray
    pulls_low: FloatArray
    pulls_high: FloatArray
    sizes: IntArray
    not_stored: IntArray
    near_words: Int32Array
    near_lengths: IntArray
    histograms: Int32Array
    extremes: FloatArray
    first_labels: IntArray
    monitored: Int32Array
    turned_labels: IntArray
    turned_upper: FloatArray
    turned_gradient: FloatArray


def sums_file(binary: Name) -> str:
    """Return the path of a binary's sums."""
    return f"{os.path.splitext(binary)[0]}.sums"


def fingerprint(binary: Name) -> str:
    """Return a checksum of a binary's size and of its two ends, so that its time does not depend on the size."""
    with open(binary, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest = blake2b(f"{size} ".encode(), digest_size=16)
        digest.update(file.read(_SAMPLE))
        file.seek(max(size - _SAMPLE, 0))
        digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


def write_sums(path: str, sums: FileSums) -> int:
    """Write sums atomically; return the size of the file in bytes."""
    values = {field.name: getattr(sums, field.name) for field in fields(sums)}
    arrays = {name: np.ascontiguousarray(value) for name, value in values.items() if isinstance(value, np.ndarray)}
    head = {name: value for name, value in values.items() if name not in arrays}
    head["arrays"] = {name: [array.dtype.str, *array.shape] for name, array in arrays.items()}
    content = [json.dumps(head).encode() + b"\n", *(array.tobytes() for array in arrays.values())]
    first = b"%s %d %s\n" % (_MAGIC, VERSION, _checksum(*content))
    with replacing(path) as file:
        for part in (first, *content):
            file.write(part)
    return len(first) + sum(map(len, content))


def read_sums(binary: Name) -> FileSums:
    """Read the sums of a binary; raise UserError with the reason if they are missing or not those of this binary."""
    path = sums_file(binary)
    try:
        content = Path(path).read_bytes()
        belongs = fingerprint(binary)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing") from error
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from error
    first, _, rest = content[:200].partition(b"\n")
    words = first.rsplit(b" ", 2)
    if len(words) != 3 or words[0] != _MAGIC:
        raise UserError(f"{path} is damaged, or not a file of sums")
    if words[1] != b"%d" % VERSION:
        raise UserError(f"{path} has version {words[1].decode(errors='replace')}, not {VERSION}")
    rest = content[len(first) + 1 :]
    if words[2] != _checksum(rest):
        raise UserError(f"{path} is damaged: its checksum is wrong")
    sums = _parse(rest)
    if sums.binary != belongs:
        raise UserError(f"{path} was not made from the present {os.path.basename(binary)}")
    return sums


def _parse(content: bytes) -> FileSums:
    line, _, _ = content.partition(b"\n")
    values: dict[str, Any] = json.loads(line)
    at = len(line) + 1
    values["rejects"] = tuple(values["rejects"])
    for name, (kind, *shape) in values.pop("arrays").items():
        values[name] = np.frombuffer(content, kind, prod(shape), at).reshape(shape)
        at += values[name].nbytes
    return FileSums(**values)


def _checksum(*parts: bytes) -> bytes:
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest().encode()
