"""Define commands for this machine: ``demo``, and ``pool start|stop|status`` for the personal pool."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from faser_align.cli import console
from faser_align.cli.arguments import Json

Folder = Annotated[
    Path | None,
    typer.Option(help="Folder of the pool [default: $FASER_ALIGN_POOL, else ~/.local/state/faser-align/pool]"),
]
Processors = Annotated[int | None, typer.Option(min=1, help="CPUs for jobs [default: all of this machine]")]
Credentials = Annotated[
    bool,
    typer.Option(
        help="For developers: issue Kerberos credentials as at CERN, with a condor_credd and stand-ins for the other services."
    ),
]
DemoProcessors = Annotated[int | None, typer.Option(min=1, help="CPUs of the pool [default: all of this machine].")]
Pede = Annotated[
    str | None, typer.Option(metavar="PROGRAM", help="Solve with this pede instead of the built-in solver.")
]


def start(folder: Folder = None, cpus: Processors = None, *, credentials: Credentials = False) -> None:
    """Start the pool and wait until it accepts jobs.

    With --credentials each submission stores a Kerberos ticket in the pool's condor_credd, as on lxplus. The ticket, the credmon
    and the starter's copy of the credential are stand-ins that need no Kerberos server.

    Example: faser-align pool start --cpus 2
    """
    from faser_align.pool import personal

    pool = personal.start(folder, cpus=cpus, credentials=credentials)
    happened = "started" if pool.started else "is already running"
    console.say(f"pool {happened} in {pool.folder}; stop it with `{console.program()} pool stop`")
    if credentials:
        from faser_align.pool.credentials import KINIT

        kinit, ticket = shlex.quote(f"{pool.folder}/{KINIT}"), shlex.quote(f"FILE:{pool.folder}/ticket")
        console.say(f"get a ticket before you submit: export KRB5CCNAME={ticket}; {kinit}")


def stop(folder: Folder = None) -> None:
    """Stop the pool and wait until its last process is gone.

    Queued jobs stay in the queue and continue at the next start.

    Example: faser-align pool stop
    """
    from faser_align.pool import personal

    where = personal.default_folder() if folder is None else folder
    console.say(f"pool in {where} stopped" if personal.stop(folder) else f"no pool runs in {where}")


def status(folder: Folder = None, as_json: Json = False) -> None:
    """Show whether the pool runs, and its load.

    Shows the number of busy CPUs, and the queued jobs and campaigns.

    Example: faser-align pool status --json
    """
    from faser_align.pool import personal

    found = personal.status(folder)
    if as_json:
        console.show_json(found)
    elif not found.running:
        console.say(f"no pool runs in {found.folder}; start it with `{console.program()} pool start`")
    else:
        jobs = ", ".join(f"{count} {state}" for state, count in found.jobs.items() if count) or "none"
        console.say(f"pool in {found.folder} runs (condor_master {found.master_pid})")
        console.say(
            f"CPUs: {found.processors_busy} of {found.processors} busy; jobs: {jobs}; campaigns: {found.campaigns}"
        )


def demo(cpus: DemoProcessors = None, pede: Pede = None) -> None:
    """Run a whole campaign with simulated data on this machine.

    A real HTCondor pool aligns a simulated detector and delivers an e-mail.
    The command stops the pool at the end unless it was already running. The campaign stays on disk for you to explore.

    Example: faser-align demo
    """
    from faser_align.cli.commands import demonstration

    if demonstration.run(cpus, pede) != "converged":
        raise typer.Exit(1)
