"""Check the environment of a campaign: the site's files, file systems, free space, tickets."""

import errno
import os
import shutil
import tempfile
from typing import cast

from faser_align.campaign import layout
from faser_align.config import calypso_scripts
from faser_align.config.schema import Config
from faser_align.config.stored_types import Reconstruction
from faser_align.dag.wrapper import reconstruct_options
from faser_align.fsm.errors import CampaignError, UserError
from faser_align.fsm.plural import count
from faser_align.operations.checking import CheckContext, Doubt, Failed
from faser_align.system import formatting, site_tools
from faser_align.system.folder_probe import try_folder
from faser_align.system.site_tools import AbsentError

FILES_TYPICAL = 50  # raw files of a campaign if none are given
MB = 1_000_000
HOUR_S = 3600.0
ROOMY = 2  # no warning if there is room for this many campaigns


def raw_files(look: CheckContext) -> tuple[str, list[str]]:
    """Check each raw file; without ``-y -r -f`` the folder of all."""
    pattern = look.config.reconstruction.raw
    if not pattern:
        return "simulated; no file is needed", []
    if not look.files:
        top = raw_top(pattern)
        if not os.path.isdir(top):
            raise UserError(
                f"reconstruction.raw: folder {top} does not exist; correct the pattern, or mount the file system"
            )
        return f"{pattern} (submit checks each file; check does with -y, -r and -f)", []
    told, total, bad = [], 0, []
    for path in raw_paths(look):
        try:
            with open(path, "rb") as raw:
                size = os.fstat(raw.fileno()).st_size
                problem = "" if raw.read(1) else "is empty"
        except OSError as error:
            size, problem = 0, f"cannot be read: {error.strerror}"
        total += size
        told.append(f"{path}: {problem or f'{size} bytes'}")
        bad += [f"{path} {problem}"] if problem else []
    if bad:
        more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise Failed(f"{bad[0]}{more}; correct -y, -r, -f or reconstruction.raw, or make the files available", told)
    return f"{count(len(look.files), 'file')}, {total / MB:,.1f} MB", told


def raw_top(pattern: str) -> str:
    """Return the part of the pattern that is the same for all raw files."""
    return pattern.partition("{")[0].rpartition("/")[0] or "/"


def raw_paths(look: CheckContext) -> list[str]:
    """Return the path of each raw file."""
    files = [layout.raw(look.run, file) for file in look.files]
    pattern = look.config.reconstruction.raw
    return [pattern.format(year=look.year, run=run, file=f"{number:05d}") for run, number in files]


def cvmfs_paths(config: Config, *, solver: bool = True) -> dict[str, str]:
    """Return the paths on CVMFS that jobs read, by their keys; with ``solver`` also those of pede's environment."""
    told = config.reconstruction
    paths = {}
    if told.backend == "calypso":
        if not told.environment:
            paths["reconstruction.calypso.atlas_base"] = f"{told.calypso.atlas_base}/user/atlasLocalSetup.sh"
        paths["reconstruction.calypso.database"] = told.calypso.database
    if solver and config.solver.environment.startswith("/cvmfs/"):
        paths["solver.environment"] = config.solver.environment
    return paths


def calypso_paths(config: Config) -> dict[str, str]:
    """Return the files of Calypso that jobs read, by their keys; none for another backend."""
    told = config.reconstruction
    if told.backend != "calypso":
        return {}
    names: tuple[str, ...] = ("write_constants", "reconstruct")
    if not told.environment:
        names += ("asetup", "setup")
    own = {"reconstruction.environment": told.environment} if told.environment else {}
    return {**{f"reconstruction.calypso.{name}": getattr(told.calypso, name) for name in names}, **own}


def cvmfs(look: CheckContext) -> str:
    """Check the paths on CVMFS, or the configured paths that replace them."""
    paths = cvmfs_paths(look.config)
    if not paths:
        raise AbsentError("not needed")
    missing = [path for path in paths.values() if not os.access(path, os.R_OK)]
    if missing:
        raise UserError(
            f"{missing[0]}: cannot read; mount CVMFS, or correct reconstruction.calypso or solver.environment"
        )
    return ", ".join(paths.values())


def calypso(look: CheckContext) -> str:
    """Check the installation and the scripts of Calypso."""
    told = look.config.reconstruction
    if told.backend != "calypso":
        raise AbsentError(f'reconstruction.backend is "{told.backend}"')
    paths = calypso_paths(look.config)
    for key, path in paths.items():
        if not os.path.isfile(path) or not os.access(path, os.R_OK):
            raise UserError(f"{key} = {path}: not a readable file; correct the path, or install Calypso there")
    _agree_with_scripts(look)
    return f"{told.calypso.release}; {told.direction} tracking; " + ", ".join(paths.values())


def _agree_with_scripts(look: CheckContext) -> None:
    """Raise Doubt if Calypso's scripts write other names or do not have an option."""
    told = look.config.reconstruction
    for key, found in calypso_scripts.names_written(calypso_scripts.read(told.calypso.write_constants)).items():
        configured = getattr(told.calypso, key)
        is_an_argument = any(f"{{{key}}}" in option for option in told.calypso.write_options)
        if configured and found != configured and not is_an_argument:
            raise Doubt(
                f"reconstruction.calypso.{key} = {configured}, but {told.calypso.write_constants} has {found}; set the key to "
                f'"{found}"'
            )
    known = calypso_scripts.options_known(calypso_scripts.read(told.calypso.reconstruct))
    options = reconstruct_options(cast(Reconstruction, told.model_dump()), look.year, 3)
    unknown = [word for word in options if word.startswith("--") and word.partition("=")[0] not in known]
    if known and unknown:
        raise Doubt(
            f"{told.calypso.reconstruct} does not accept {', '.join(unknown)}; correct reconstruction.calypso.reconstruct_options, "
            "or list the options in reconstruction.calypso.reconstruct_without"
        )


def pages(look: CheckContext) -> str:
    """Check that the campaign's page can be published to the configured folder."""
    where = look.config.report.publish
    if not where:
        raise AbsentError("report.publish is empty")
    from faser_align.pages.publish import in_the_way  # imports numpy and everything that pages need

    problem = in_the_way(where)
    if problem:
        raise Doubt(f"no report will be published: {problem}; correct report.publish")
    return where


def locks(look: CheckContext) -> str:
    """Check that file locks, fsync, exclusive links and SQLite's transactions work in the campaign's folder."""
    where = look.config.campaign.folder
    try:
        with tempfile.TemporaryDirectory(prefix=".faser-align-check-", dir=where) as folder:
            return f"{try_folder(folder)} in {where}"
    except OSError as error:
        plain = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EROFS)
        cure = "correct campaign.folder" if plain else "set campaign.folder to one on a file system with locks"
        raise UserError(f"{where}: {error.strerror}; {cure}") from None


def control_mb(look: CheckContext) -> float:
    """Return the size of the campaign's control files in MB."""
    return look.config.check.control_mb * _files(look) * look.iterations


def data_mb(look: CheckContext) -> float:
    """Return the size of tracks and Mille data in MB; fewer iterations of tracks count if older ones are removed."""
    storage, check = look.config.storage, look.config.check
    limit = (storage.keep_iterations or look.iterations) if storage.keep_intermediate_root_files else 1
    kept = min(limit + 1, look.iterations)  # those of the current iteration exist before older ones are removed
    return _files(look) * (check.tracks_mb * kept + check.mille_mb * look.iterations)


def afs(look: CheckContext) -> str:
    """Check the quota of the volume with the campaign's folder."""
    folder = look.config.campaign.folder
    quota = site_tools.parse_afs_quota(_site("fs", "lq", folder, beyond="is not on AFS"))
    return _enough(_left(quota, f"fs lq {folder}"), control_mb(look), f"AFS volume of {folder}", "campaign.folder")


def eos(look: CheckContext) -> str:
    """Check the user's quota on EOS for the large files."""
    data = look.config.storage.folder
    if not data:
        raise AbsentError("storage.data is empty: large files go to the campaign's folder")
    url = look.config.reconstruction.eos_url
    try:
        text = site_tools.run("eos", "quota", "ls", "-m", "-p", data, environment={"EOS_MGM_URL": url})
    except CampaignError as problem:
        raise UserError(f"{problem}; check your ticket (`klist`), storage.data and reconstruction.eos_url") from None
    left = _left(site_tools.parse_eos_quota(text), f"eos quota ls -m -p {data}")
    return _enough(left, data_mb(look), f"EOS quota for {data}", "storage.data")


def room(look: CheckContext) -> str:
    """Check the free space of the file systems themselves, which quotas do not include."""
    folder, data = look.config.campaign.folder, look.config.storage.folder
    for key, place in (("campaign.folder", folder), ("storage.data", data)):
        if place and not os.path.isdir(place):
            raise AbsentError(f"{key} = {place} does not exist")
    if data:
        _enough(shutil.disk_usage(folder).free, control_mb(look), f"file system of {folder}", "campaign.folder")
        return _enough(shutil.disk_usage(data).free, data_mb(look), f"file system of {data}", "storage.data")
    return _enough(
        shutil.disk_usage(folder).free, control_mb(look) + data_mb(look), f"file system of {folder}", "campaign.folder"
    )


def kerberos(look: CheckContext) -> str:
    """Check how long the Kerberos ticket is valid."""
    try:
        text = site_tools.run("klist")
    except CampaignError as problem:
        return _ticketless(look, f"there is no Kerberos ticket ({str(problem).rpartition(': ')[2]})")
    left_s = site_tools.parse_klist(text, site_tools.local_now())
    if left_s is None:
        return _ticketless(look, "`klist` shows no ticket-granting ticket")
    if left_s <= 0:
        return _ticketless(look, "the Kerberos ticket has expired")
    return _lasting(look, left_s, "Kerberos ticket", "kinit")


def token(look: CheckContext) -> str:
    """Check how long the AFS token is valid."""
    text = _site("tokens")
    left_s = site_tools.parse_tokens(text, site_tools.local_now())
    if left_s is None or left_s <= 0:
        return _ticketless(look, "there is no valid AFS token", "kinit && aklog")
    return _lasting(look, left_s, "AFS token", "kinit -R && aklog")


def _ticketless(look: CheckContext, problem: str, cure: str = "kinit") -> str:
    if look.config.htcondor.pool == "personal":
        raise Doubt(f"{problem}; if your files need one, run `{cure}`")
    raise UserError(f"{problem}, so HTCondor cannot access your files; run `{cure}`")


def _lasting(look: CheckContext, left_s: float, what: str, cure: str) -> str:
    told = f"{what} valid for {left_s / HOUR_S:.1f} h"
    if left_s < look.config.check.ticket_h * HOUR_S:
        raise Doubt(f"{told}, less than check.ticket_h = {look.config.check.ticket_h:g}; renew it with `{cure}`")
    return told


def _site(tool: str, *arguments: str, beyond: str = "") -> str:
    """Return the output of a site tool; raise AbsentError if it is missing or not for this file system."""
    try:
        return site_tools.run(tool, *arguments)
    except CampaignError as problem:
        if beyond and arguments and not os.path.realpath(arguments[-1]).startswith("/afs/"):
            raise AbsentError(f"{arguments[-1]} {beyond}") from None
        raise UserError(f"{problem}; check that the folder exists and that your token is valid") from None


def _files(look: CheckContext) -> int:
    return len(look.files) or FILES_TYPICAL


def _left(quota: site_tools.Quota | None, command: str) -> int | None:
    """Return the free bytes of a quota, None without a limit; raise Doubt if ``command`` did not say."""
    if quota is None:
        raise Doubt(f"the output of `{command}` is not understood; check the quota by hand")
    return quota.left


def _enough(left: int | None, need_mb: float, what: str, key: str) -> str:
    need = formatting.bytes_of(round(need_mb * MB))
    if left is None:
        return f"{what}: no limit; this campaign needs about {need}"
    told = f"{what}: {formatting.bytes_of(left)} left, and this campaign needs about {need}"
    if left < need_mb * MB:
        raise UserError(f"{told}; free space, or set {key} to another folder")
    if left < ROOMY * need_mb * MB:
        raise Doubt(f"{told}; free space soon")
    return told
