"""Define the attempts of the jobs of ``check --probe`` on an execute node. Pure."""

from typing import Any

from faser_align.campaign import layout
from faser_align.config.schema import Config
from faser_align.operations import checks_places as places
from faser_align.operations.checking import CheckContext

Request = dict[str, Any]


def requests(look: CheckContext, folder: str, *, credential: bool = False) -> dict[str, list[Request]]:
    """Return the attempts of each kind of job in order; ``folder`` is that of the probe.

    ``credential`` says that the pool gives jobs a Kerberos credential.
    """
    config, solver = look.config, look.config.solver
    tickets = [{"name": "credential", "try": "credential"}] if credential else []
    if config.htcondor.pool != "personal":  # its jobs run as the user's own processes
        tickets.append({"name": "Kerberos", "try": "ticket", "tool": "klist"})
        tickets.append({"name": "AFS token", "try": "ticket", "tool": "tokens"})
    folders = [{"name": "campaign folder", "try": "write", "key": "campaign.folder", "folder": folder}]
    if data := config.storage.folder:
        folders.append({"name": "data folder", "try": "write", "key": "storage.data", "folder": data})
    pede = {"name": "pede", "try": "pede", "pede": solver.pede, "environment": solver.environment}
    return {
        "reco": [
            {"name": "Python", "try": "python", "modules": _reco_modules(config)},
            {"name": "scratch space", "try": "scratch", "disk_mb": config.htcondor.reco.disk_mb},
            *tickets,
            *folders,
            *_paths("raw files", _raw_paths(look)),
            *_paths("CVMFS", list(places.cvmfs_paths(config, solver=False).items())),
            *_paths("Calypso", list(places.calypso_paths(config).items())),
            *_programs(config),
        ],
        "mille": [
            {"name": "Python", "try": "python", "modules": ["faser_align.jobs.solve", "faser_align.jobs.validate"]},
            {"name": "scratch space", "try": "scratch", "disk_mb": config.htcondor.mille.disk_mb},
            *tickets,
            *folders,
            *([pede] if solver.backend == "pede" else []),
        ],
    }


def _reco_modules(config: Config) -> list[str]:
    # Includes modules that the job imports only inside functions.
    own = [
        "faser_align.jobs.reconstruct",
        "faser_align.alignment.mille.conversion",
        "faser_align.alignment.quality.momenta",
    ]
    if config.reconstruction.backend == "simulation":
        return [*own, "faser_align.simulation.reconstruct", "faser_align.simulation.kfalignment"]
    return [*own, "faser_align.jobs.inputs", "faser_align.jobs.output", "faser_align.jobs.convert"]


def _raw_paths(look: CheckContext) -> list[tuple[str, str]]:
    pattern = look.config.reconstruction.raw
    paths = places.raw_paths(look) if look.files else [places.raw_top(pattern)]
    return [("reconstruction.raw", path) for path in paths] if pattern else []


def _paths(name: str, paths: list[tuple[str, str]]) -> list[Request]:
    return [{"name": name, "try": "read", "paths": paths}] if paths else []


def _programs(config: Config) -> list[Request]:
    """Return the environment that the wrapper sets up, and the programs that copy tracks."""
    told = config.reconstruction
    if told.backend == "simulation":
        return []
    found: list[Request] = []
    if told.backend == "calypso" or told.environment:
        found.append({"name": "environment", "try": "environment", "script": layout.WRAPPER})
    if told.copy_with == "xrdcp":
        fix = 'set reconstruction.copy_with = "cp"'
        found.append({"name": "copying", "try": "tool", "tools": ["xrdcp", "xrdfs"], "fix": fix})
    return found
