"""Test jobs in broken environments on a real pool: each failure is named with its fix, and a resume loses nothing.

`make soak` breaks environments in all of these ways, `make test` in some: tests of the jobs do all of it without a pool.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from calypso import Lxplus
from desk import EXAMPLES, MISPLACED, NOTIFY, Desk
from nowhere import no_job_begins
from properties import SOAK
from standin import make_pede

from faser_align.campaign import layout
from faser_align.fsm import exit_codes

COMMON = f"""{MISPLACED}[convergence]
starved_per_parameter = 0.0
min_iterations = 9
stalled_iterations = 9
{NOTIFY}[htcondor]
retries = 0
"""
SIMULATION = '[simulation]\ntruth = "{examples}/align_2025.txt"\ntracks = 300\n'
PEDE = '[solver]\nbackend = "pede"\npede = "{pede}"\n'


class World(NamedTuple):
    """A campaign in a broken environment, its expected failure, words of the reason, and the repair."""

    name: str
    status: int
    words: str
    cure: Callable[[], object]


def begin(desk: Desk, name: str, text: str, iterations: int = 1) -> str:
    """Submit a campaign of one file; return its full name."""
    (desk.folder / "faser-align.toml").write_text((COMMON + text).replace("{examples}", str(EXAMPLES)))
    full = f"{name}-{desk.folder.name}"
    desk.run("submit", "-y", "2023", "-r", "11705", "-f", "400", "-i", str(iterations), "--name", full, "--no-check")
    return full


def end(desk: Desk, worlds: list[World]) -> None:
    """Check that each campaign has failed with the expected name; repair and resume it to its end."""
    for world in worlds:
        desk.wait(world.name, status=15)
        failure, *_, cure = exit_codes.JOB_FAILURES[world.status]
        for told in (desk.letters(world.name), desk.run("status", world.name)):
            found = " ".join(told.split())
            assert [words for words in (failure, world.words, cure) if words not in found] == [], found
        world.cure()
    for world in worlds:
        desk.run("resume", world.name)
    for world in worlds:
        desk.wait(world.name, status=10)
        desk.run("verify", world.name)


RECONSTRUCTION: dict[str, tuple[list[str], dict[str, bool], int, str]] = {
    "token": (["cp:refused", "klist:expired"], {}, exit_codes.TOKEN, "Permission denied"),
}
if SOAK:
    RECONSTRUCTION |= {
        "stale": ([], {"silent": True}, exit_codes.NO_OUTPUT, "ended well but left no"),
        "setup": ([], {"setup": False}, exit_codes.ENVIRONMENT, "setup.sh"),
        "refused": (["cp:refused"], {}, exit_codes.COPY, "cannot be written"),
        "truncated": (["cp:truncated"], {}, exit_codes.COPY, "is not what was sent"),
        "quota": (["cp:quota"], {}, exit_codes.NO_SPACE, "Disk quota exceeded"),
        "environment": (["asetup:fail"], {}, exit_codes.ENVIRONMENT, "scripts ended the shell with status 3"),
    }
PEDE_DOES = {"aborts": ("echo '   26   Aborted, too many rejects' > millepede.end", "ended with code 26")}
# Ways to corrupt the constants of the second iteration.
CONSTANTS: dict[str, tuple[str, Callable[[Path], object]]] = {}
if SOAK:
    PEDE_DOES |= {
        "crashes": ("kill -SEGV $$", "exit status -11"),
        "ends": ("echo '    5   Ended without solution' > millepede.end", "ended with code 5"),
    }
    CONSTANTS |= {
        "missing": ("No such file", Path.unlink),
        "nan": ("finite number", lambda path: path.write_text('"00": [0, nan, 0, 0, 0, 0]')),
        "empty": ("is empty", lambda path: path.write_text("")),
    }


def bad_reconstruction(desk: Desk, name: str) -> World:
    """Submit a campaign and break its environment."""
    orders, does, status, words = RECONSTRUCTION[name]
    lxplus = Lxplus(desk.folder / name, 150)
    shutil.copy(EXAMPLES / "align_2025.txt", lxplus.folder / "truth.txt")
    lxplus.raw(400, **{key: value for key, value in does.items() if key != "setup"})
    lxplus.orders(*orders)
    full = begin(desk, name, lxplus.toml())
    lxplus.come_first(desk.folder / full / layout.WRAPPER)
    setup = lxplus.checkout / "setup.sh"
    before = setup.read_text()
    if "setup" in does:
        setup.unlink()
    stale = Path(layout.kfalignment_file(str(desk.folder / full), 1, 1, "011705", 400))
    if name == "stale":
        stale.write_bytes(b"root, of an earlier run")

    def cure() -> None:
        assert not stale.exists()
        lxplus.orders("")
        setup.write_text(before)
        lxplus.raw(400)

    return World(full, status, words, cure)


@pytest.mark.timeout(1800)
def test_worlds_that_are_bad_for_a_reconstruction(desk: Desk) -> None:
    """Failures of EOS, quota, ticket, output and environment are named with the fix, and the campaign resumes."""
    with no_job_begins():
        worlds = [bad_reconstruction(desk, name) for name in RECONSTRUCTION]
    end(desk, worlds)


@pytest.mark.timeout(1800)
def test_worlds_that_are_bad_for_a_solution(desk: Desk) -> None:
    """Failures of pede, and missing, empty or malformed constants, are named, and the campaign resumes."""
    good = Path(make_pede(desk.folder)).read_text()
    worlds = []
    for name, (does, words) in PEDE_DOES.items():
        pede = desk.folder / f"pede-{name}"
        pede.write_text(f"#!/bin/bash\n{does}\n")
        pede.chmod(0o755)
        full = begin(desk, name, SIMULATION + PEDE.format(pede=pede))
        place = desk.folder / full / "iter01" / layout.MILLEPEDE
        (place / "millepede.res").write_text(" Parameter\n 10 1.0 0.05 1.0 0.1\n")

        def cure(pede: Path = pede, place: Path = place) -> None:
            assert not (place / layout.CONSTANTS).exists()
            pede.write_text(good)

        worlds.append(World(full, exit_codes.SOLVER, words, cure))

    second = {}
    with no_job_begins():  # until somebody looks for what they leave
        for name, (words, _) in CONSTANTS.items():
            full = begin(desk, name, SIMULATION, 2)
            path = Path(layout.constants_file(str(desk.folder / full), 1, 2))
            result = layout.result_file(str(desk.folder / full), 1, 1)
            second[name] = path
            worlds.append(World(full, exit_codes.CONSTANTS, words, lambda r=result, p=path: shutil.copy(r, p)))
    while second:
        for name in [name for name, path in second.items() if path.exists()]:
            CONSTANTS[name][1](second.pop(name))
        time.sleep(0.05)
    end(desk, worlds)
