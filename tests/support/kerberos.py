"""Provide a real pool with a condor_credd, and the user's tickets."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import htcondor2
import pytest

from faser_align.pool import credentials, personal


class Site:
    """The pool in ``folder`` as its user sees it; calls of the producer are counted from here on."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ticket = folder, folder / "ticket"
        self._log = folder / credentials.CALLS
        self._before = len(self._lines())

    def kinit(self, lifetime_s: int = 3600, renewable_s: int = 86400) -> None:
        """Get a ticket."""
        command = [str(self.folder / credentials.KINIT), "-l", str(lifetime_s), "-r", str(renewable_s)]
        subprocess.run(command, check=True)

    def calls(self) -> list[str]:
        """KRB5CCNAME of each call of the producer."""
        return [line.partition("KRB5CCNAME=")[2] for line in self._lines()[self._before :]]

    def stored(self) -> list[Path]:
        """Return the credential files of the condor_credd and the credmon."""
        return sorted((self.folder / credentials.FOLDER).glob("*.c*"))

    def _lines(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []

    @contextlib.contextmanager
    def configured(self, text: str, *, daemons: bool = False) -> Iterator[None]:
        """Change the pool's configuration within the context.

        It applies to this process and its children, or also to the daemons.
        """
        config = self.folder / "condor_config"
        before = config.read_text()

        def write(content: str) -> None:
            config.write_text(content)
            htcondor2.reload_config()
            if daemons:
                subprocess.run(["condor_reconfig"], check=True, capture_output=True)

        write(f"{before}\n{text}\n")
        try:
            yield
        finally:
            write(before)


@contextlib.contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Use the pool in ``folder``, with a ticket, instead of the one of the test run."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in personal.environment(folder).items():
            patch.setenv(name, value)
        patch.setenv("FASER_ALIGN_POOL", str(folder))
        made = Site(folder)
        patch.setenv("KRB5CCNAME", f"FILE:{made.ticket}")
        personal.use(folder)
        made.kinit()
        for stored in made.stored():
            stored.unlink()
        yield made
    htcondor2.reload_config()


def environment_of(path: Path) -> dict[str, str]:
    """Return the output of `env`."""
    return dict(line.partition("=")[::2] for line in path.read_text().splitlines() if "=" in line)
