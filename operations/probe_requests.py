"""Define what the jobs of ``check --probe`` try on an execute node. Pure."""

from typing import Any

from faser_align.campaign import layout
from faser_align.config.schema import Config
from faser_align.operations import checks_places as places
from faser_align.operations.checking import CheckContext

RECO, MILLE = "reco", "mille"
Request = dict[str, Any]


def requests(look: CheckContext, folder: str, *, credential: bool = False) -> dict[str, list[Request]]:
    """Return in order what each kind of job tries; ``folder`` is that of the probe.

    ``credential`` says that the pool gives jobs a Kerberos credential.
    """
    config = look.config
    return {
        RECO: [
            _python(_reco_modules(config)),
            _scratch(config.htcondor.reco.disk_mb),
            *_tickets(config, credential=credential),
            _write("campaign folder", "campaign.folder", folder),
            *_data(config),
            *_paths("raw files", _raw_paths(look)),
            *_paths("CVMFS", list(places.cvmfs_paths(config, solver=False).items())),
            *_paths("Calypso", list(places.calypso_paths(config).items())),
            *_environment(config),
            *_copy_tools(config),
        ],
        MILLE: [
            _python(["faser_align.jobs.solve", "faser_align.jobs.validate"]),
            _scratch(config.htcondor.mille.disk_mb),
            *_tickets(config, credential=credential),
            _write("campaign folder", "campaign.folder", folder),
            *_data(config),
            *_pede(config),
        ],
    }


def _python(modules: list[str]) -> Request:
    return {"name": "Python", "try": "python", "modules": modules}


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


def _scratch(disk_mb: int) -> Request:
    return {"name": "scratch space", "try": "scratch", "disk_mb": disk_mb}


def _tickets(config: Config, *, credential: bool) -> list[Request]:
    given = [{"name": "credential", "try": "credential"}] if credential else []
    if config.htcondor.pool == "personal":  # its jobs run as the user's own processes
        return given
    return [
        *given,
        {"name": "Kerberos", "try": "ticket", "tool": "klist"},
        {"name": "AFS token", "try": "ticket", "tool": "tokens"},
    ]


def _write(name: str, key: str, folder: str) -> Request:
    return {"name": name, "try": "write", "key": key, "folder": folder}


def _data(config: Config) -> list[Request]:
    return [_write("data folder", "storage.data", config.storage.folder)] if config.storage.folder else []


def _raw_paths(look: CheckContext) -> list[tuple[str, str]]:
    pattern = look.config.reconstruction.raw
    if not pattern:
        return []
    paths = places.raw_paths(look) if look.files else [places.raw_top(pattern)]
    return [("reconstruction.raw", path) for path in paths]


def _environment(config: Config) -> list[Request]:
    told = config.reconstruction
    if told.backend == "simulation" or (told.backend == "command" and not told.environment):
        return []
    return [{"name": "environment", "try": "environment", "script": layout.WRAPPER}]


def _paths(name: str, paths: list[tuple[str, str]]) -> list[Request]:
    return [{"name": name, "try": "read", "paths": paths}] if paths else []


def _copy_tools(config: Config) -> list[Request]:
    if config.reconstruction.backend == "simulation" or config.reconstruction.copy_with != "xrdcp":
        return []
    fix = 'set reconstruction.copy_with = "cp"'
    return [{"name": "copying", "try": "tool", "tools": ["xrdcp", "xrdfs"], "fix": fix}]


def _pede(config: Config) -> list[Request]:
    solver = config.solver
    if solver.backend != "pede":
        return []
    return [{"name": "pede", "try": "pede", "pede": solver.pede, "environment": solver.environment}]
