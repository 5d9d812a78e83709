"""Find out how much memory this process may use."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from faser_align.system.read import text_of


class MemoryLimit(NamedTuple):
    """A limit in bytes, and what sets it."""

    nbytes: int
    origin: str


def memory_limit() -> MemoryLimit:
    """Return the smallest limit: of the job's slot, the control group, the process, or what is free on the machine."""
    return min(_limits())


def memory_used() -> int:
    """Return the memory that this process uses now, in bytes."""
    pages = text_of("/proc/self/statm").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _limits() -> Iterator[MemoryLimit]:
    for line in text_of("/proc/meminfo").splitlines():
        name, size, *_ = line.split()
        if name == "MemAvailable:":
            yield MemoryLimit(memory_used() + int(size) * 1024, "other programs leave")
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft = resource.getrlimit(kind)[0]
        if soft != resource.RLIM_INFINITY:
            yield MemoryLimit(soft, "ulimit allows")
    slot = _slot_mb()
    if slot:
        yield MemoryLimit(slot << 20, "the job requested")
    for nbytes in _control_groups():
        yield MemoryLimit(nbytes, "the control group allows")


def _slot_mb() -> int:
    """Return the memory of the HTCondor slot in which this process runs, from its machine ad; 0 if there is none."""
    for line in text_of(os.environ.get("_CONDOR_MACHINE_AD", "")).splitlines():
        name, _, value = line.partition("=")
        if name.strip().lower() == "memory" and value.strip().isdigit():
            return int(value)
    return 0


def _control_groups() -> Iterator[int]:
    """Yield the limits of this process's control groups, of version 2 and 1, and of those around them."""
    for line in text_of("/proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            root, name = Path("/sys/fs/cgroup"), "memory.max"
        elif "memory" in controllers.split(","):
            root, name = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        else:
            continue
        folder = Path(path.lstrip("/"))
        for group in (folder, *folder.parents):
            for value in text_of(root / group / name).splitlines():
                if value.isdigit():
                    yield int(value)
