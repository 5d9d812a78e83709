"""Provide stand-ins for lxplus: CVMFS with ATLASLocalRootBase and Athena, a Calypso checkout, raw files, EOS.

They have the arguments and outputs of the real programs, and fail on demand: the text of a raw file of the stand-in
defines what its reconstruction does, and a file ``orders`` names programs that fail. As in the originals, sourced
scripts do not support ``set -eu``, and change options, variables and search paths of the shell.
"""

import json
import os
import shutil
import sqlite3
import sys
from pathlib import Path

from faser_align.system.atomic import replacing

HERE = Path(__file__).parent


class Lxplus:
    """The tree of stand-ins in ``folder``, and its configuration.

    Args:
        folder: where to make it.
        tracks: number of tracks in each raw file.
        kept: folder in which reconstructions of the same input find their tracks.
    """

    def __init__(self, folder: Path, tracks: int = 300, kept: Path | None = None) -> None:
        self.folder = folder
        self.usual = {"tracks": tracks, "truth": str(folder / "truth.txt")} | ({"kept": str(kept)} if kept else {})
        self.bin = folder / "bin"
        self.database = folder / "cvmfs" / "faser" / "ALLP200.db"
        self.atlas_base = folder / "cvmfs" / "atlas"
        self.checkout = folder / "calypso"
        for source in ("cvmfs", "calypso", "bin"):
            shutil.copytree(HERE / source, folder / source)
        athena = folder / "cvmfs" / "atlas" / "athena"
        (athena / "AtlCoolConsole").rename(athena / "AtlCoolConsole.py")  # a bash script, despite its name
        for program in (*athena.iterdir(), *self.bin.iterdir()):
            program.write_text(program.read_text().replace("@python@", sys.executable).replace("@folder@", str(folder)))
            program.chmod(0o755)
        for script in (*self.checkout.glob("*"), *(self.atlas_base / "user").glob("*")):
            script.write_text(script.read_text().replace("@folder@", str(folder)))
        self.database.parent.mkdir()
        with sqlite3.connect(self.database) as db:
            db.execute("CREATE TABLE folders (tag TEXT, payload TEXT)")
        db.close()
        self.database.chmod(0o444)
        self.orders("")

    def orders(self, *words: str) -> None:
        """Set the programs that fail from now on, each as NAME:HOW."""
        (self.folder / "orders").write_text("".join(f"{word}\n" for word in words))

    def raw(self, file: int, **does: object) -> Path:
        """Make a raw file; keywords define what its reconstruction does, for example ``crash=True``."""
        path = self.folder / "raw" / "2023" / "011705" / f"Faser-Physics-011705-{file:05d}.raw"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.usual | does))
        return path

    def tool(self, name: str, text: str) -> None:
        """Replace a tool of the site by a program that prints ``text``, or by a script."""
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(text if text.startswith("#!") else f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
        path.chmod(0o755)

    def come_first(self, wrapper: Path) -> None:
        """Put the tools of the site first in the PATH of a campaign's jobs."""
        head, rest = wrapper.read_text().split("\n", 1)
        with replacing(wrapper, mode=0o755) as file:
            file.write(f'{head}\nPATH="{self.bin}:/usr/local/bin:/usr/bin:/bin"\n{rest}'.encode())

    def reconstruction(self, **changes: object) -> dict[str, object]:
        """Return the table ``[reconstruction]`` for these stand-ins."""
        return {
            "backend": "calypso",
            "raw": f"{self.folder}/raw/{{year}}/{{run}}/Faser-Physics-{{run}}-{{file}}.raw",
            "calypso": {
                "atlas_base": str(self.atlas_base),
                "asetup": str(self.checkout / "asetup.faser"),
                "setup": str(self.checkout / "setup.sh"),
                "write_constants": str(self.checkout / "WriteAlignmentConfig_Faser04.py"),
                "reconstruct": str(self.checkout / "faser_reco_alignment.py"),
                "database": str(self.database),
            },
            **changes,
        }

    def toml(self, **changes: object) -> str:
        """Return the same table as TOML; keywords are further keys of it."""
        table = self.reconstruction(**changes)
        calypso = table.pop("calypso")
        assert isinstance(calypso, dict)
        tables = {"reconstruction": table, "reconstruction.calypso": calypso}
        return "".join(
            f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
            for name, keys in tables.items()
        )

    def environment(self, scratch: Path) -> dict[str, str]:
        """Return a job's environment, with the stand-ins first in PATH."""
        path = os.pathsep.join((str(self.bin), "/usr/local/bin:/usr/bin:/bin"))
        return {"PATH": path, "HOME": str(scratch), "_CONDOR_SCRATCH_DIR": str(scratch)}
