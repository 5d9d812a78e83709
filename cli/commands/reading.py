"""Define the commands that read a campaign: ``list``, ``status``, ``watch``, ``history``, ``metrics`` and more.

They read a campaign's snapshot, on any machine, and never its database.
"""

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from faser_align.cli import console
from faser_align.cli.arguments import Campaign, Json, Plain, Reference, Utc, one_of
from faser_align.cli.show import draw
from faser_align.fsm import table
from faser_align.fsm.errors import CampaignError, UserError
from faser_align.state import registry
from faser_align.system import formatting
from faser_align.system.program import hint

if TYPE_CHECKING:
    from faser_align.operations.dagman import DagmanStatus

Interval = Annotated[float, typer.Option(min=0.05, max=3600, help="Seconds between two updates.")]


def list_campaigns(
    state: Annotated[
        list[str] | None,
        typer.Option(help="Only campaigns in this state; repeatable.", autocompletion=one_of(*table.STATES)),
    ] = None,
    run: Annotated[
        list[str] | None, typer.Option("--run", "-r", help="Only campaigns of this run; repeatable.")
    ] = None,
    year: Annotated[
        list[int] | None, typer.Option("--year", "-y", metavar="N", help="Only campaigns of this year; repeatable.")
    ] = None,
    utc: Utc = False,
    plain: Plain = False,
    as_json: Json = False,
) -> None:
    """List all campaigns of this account, newest first.

    Queries HTCondor once for all of them: a campaign that no script can advance is shown as stuck, with the fix below the table.

    Example: faser-align list --state converged
    """
    from faser_align.cli.show import screens
    from faser_align.operations import dagman, selection

    program = console.program()
    rows = selection.campaigns(state or [], runs=run or [], years=year or [])
    looks, problems = dagman.look_at_all(rows)
    if as_json:
        console.show_json([{**look.seen, "dagman": look.trouble, "dagman_stuck": look.stuck} for look in looks])
        _notify(*(look for look in looks if look.stuck), quiet=True)
        return
    console.warn(*(f"{row['name']} cannot be read: {row['problem']}" for row in rows if "problem" in row), *problems)
    if rows:
        stuck = [look for look in looks if look.stuck]
        draw.show(
            screens.campaigns(rows, formatting.zone(utc=utc), {look.seen["folder"] for look in stuck}), plain=plain
        )
        for look in looks:
            jobs = screens.trouble(look.seen, program)
            if line := look.sentence or (f"{look.seen['name']}: {jobs}" if jobs else ""):
                console.say(line)
        _notify(*stuck)
    elif state or run or year:
        what = f"is {' or '.join(state)}" if state and not (run or year) else "matches"
        console.say(f"no campaign {what}; see all with `{program} list`")
    else:
        console.say(
            f"no campaign yet; try `{program} demo`, or start with `{program} init`, then `{program} submit --help`"
        )


def status(campaign: Campaign, utc: Utc = False, plain: Plain = False, as_json: Json = False) -> None:
    """Show the state of a campaign and the reason for it.

    Shows state and reason, the quality of the constants with a grade per line, iterations, an estimate of the end, problems with
    their fix, and the next command. A node is slow if it takes three times the median of its kind plus a minute. The estimated
    end is the median duration of the iterations so far, times the iterations that remain until the limit and, from the rate of
    convergence, until convergence.
    The largest correction is shown with its error, its size in standard deviations, its direction, and the module (3 digits) or
    layer (2 digits).
    A problem of many nodes is shown once, with the reason of the first node.
    Queries HTCondor once: can DAGMan run, and which jobs are idle, held, without a machine, or gone from the queue? If HTCondor
    does not answer, a node counts as "in HTCondor" from its PRE script to its POST script.

    Example: faser-align status Y2023_R011705_F400-450
    """
    from faser_align.cli.show import screens
    from faser_align.operations import dagman

    look = dagman.look(registry.find(campaign))
    if as_json:
        steps = screens.steps(look.seen, console.program(), cure=look.cure)
        rows = [{key: value for key, value in row.items() if key != "metrics"} for row in look.seen["iterations"]]
        dagman_now = {"dagman": look.trouble, "dagman_gone": look.gone, "dagman_stuck": look.stuck}
        following = {"next": steps[0].command, "steps": steps}
        console.show_json({**look.seen, "iterations": rows, **dagman_now, **following})
        _notify(look, quiet=True)
        return
    where = formatting.zone(utc=utc)
    told = screens.status(
        look.seen, program=console.program(), trouble=look.trouble, stuck=look.stuck, cure=look.cure, where=where
    )
    draw.show(told, plain=plain)
    _notify(look)


def _notify(*looks: "DagmanStatus[Any]", quiet: bool = False) -> None:
    """Send the messages that the campaigns' scripts can no longer send, and name the recipients."""
    from faser_align.operations import notice

    for look in looks:
        accepted = notice.notify(look)
        if accepted and not quiet:
            console.say(f"recipients of {look.seen['name']} were notified: {', '.join(accepted)}")


def watch(campaign: Campaign, interval: Interval = 1.0, utc: Utc = False, plain: Plain = False) -> None:
    """Show the status live until the campaign ends.

    Without a terminal, or with --plain, writes a line for each change. Queries HTCondor at the start and every ten minutes.
    Ctrl-C ends the command, not the campaign. Programs use `wait --json` for the end and `status --json` for the state.

    Example: faser-align watch Y2023_R011705_F400-450
    """
    try:
        follow(campaign, interval, utc=utc, plain=plain)
    except KeyboardInterrupt:
        console.say(_goes_on("watch", campaign))
        raise typer.Exit(130) from None  # 128 + SIGINT, as shells do


def follow(campaign: str, interval: float = 1.0, *, utc: bool = False, plain: bool = False) -> None:
    """Show the status live, with the arguments of ``watch``; Ctrl-C raises KeyboardInterrupt."""
    from faser_align.cli.show import history_view, screens
    from faser_align.cli.show import live as live_screen
    from faser_align.operations import dagman, snapshot, waiting

    folder = registry.find(campaign)
    look = dagman.look(folder)
    if look.stuck:
        _notify(look)
        raise CampaignError(look.sentence)
    program, where = console.program(), formatting.zone(utc=utc)
    live = live_screen.has_terminal() and not draw.is_plain(plain)
    known = trouble = look.trouble or screens.trouble(look.seen, program)

    def ask() -> str:
        found = dagman.look(folder)
        _notify(found, quiet=True)
        return found.trouble or screens.trouble(found.seen, program)

    def warn_again() -> None:
        nonlocal known
        now = ask()
        if now and now != known:
            console.warn(now)
        known = now

    if not live:
        if trouble:
            console.warn(trouble)
        console.say(f"{look.seen['name']}  {look.seen['state']}: {look.seen['reason']}")
    try:
        if live:
            live_screen.watch_live(folder, program=program, trouble=trouble, ask=ask, interval_s=interval, where=where)
        else:
            waiting.follow(
                folder,
                lambda row: draw.show([history_view.brief(row, where)], plain=plain),
                after=look.seen["last_event"],
                interval_s=interval,
                ask=warn_again,
            )
    except KeyboardInterrupt:
        if live:
            draw.show(screens.status(snapshot.take(folder), program=program, trouble=trouble, where=where))
        raise
    now = snapshot.take(folder)
    draw.show(screens.status(now, program=program, where=where) if live else screens.onwards(now, program), plain=plain)


def _goes_on(command: str, campaign: str) -> str:
    """Return the message after Ctrl-C."""
    return f"the campaign continues; {command} again with {hint(command, campaign)}"


def wait(
    campaign: Campaign,
    timeout: Annotated[float | None, typer.Option(min=0, help="Give up after this time (s).")] = None,
    interval: Interval = 1.0,
    as_json: Json = False,
) -> None:
    """Wait until a campaign ends; the exit status tells how it ended.

    \b
     0  converged, or reconstructed (reco)
    10  exhausted    13  starved     16  removed
    11  diverged     14  rejected    17  timeout
    12  stalled      15  failed
    18  no script can end it: its DAGMan is held, gone, stuck, or waits in vain
     2  no such campaign

    Queries HTCondor at the start, and again after ten minutes without a change.

    Example: faser-align wait Y2023_R011705_F400-450 --timeout 3600
    """
    from faser_align.operations import dagman, snapshot, waiting

    folder = registry.find(campaign)
    look = dagman.look(folder)
    found = waiting.Outcome(None, look.sentence)
    try:
        if look.trouble and not look.stuck:
            console.warn(look.trouble)
        if not found.stuck:
            found = waiting.wait(
                folder, timeout_s=timeout, interval_s=interval, stuck=lambda folder: dagman.look(folder).sentence
            )
    except KeyboardInterrupt:
        typer.echo(_goes_on("wait", campaign), err=True)
        raise typer.Exit(130) from None  # 128 + SIGINT, as shells do
    seen = snapshot.take(folder)
    exit_status = waiting.exit_status(found)
    if as_json:
        about = {key: seen.get(key) for key in ("name", "state", "reason", "constants", "quality")}
        late = exit_status == waiting.TIMEOUT
        console.show_json({**about, "timeout": late, "stuck": found.stuck, "exit_status": exit_status})
    elif found.stuck:
        console.say(found.stuck)
    else:
        late_words = "" if found.end else " (timeout)"
        console.say(f"{seen['name']}  {seen['state']}{late_words}: {seen['reason']}")
    if found.stuck:
        _notify(dagman.look(folder), quiet=as_json)
    raise typer.Exit(exit_status)


def history(
    campaign: Campaign,
    campaign_only: Annotated[
        bool,
        typer.Option("--campaign-only/--nodes", help="Show only the campaign's own events, or also those of nodes."),
    ] = False,
    node: Annotated[str | None, typer.Option(help="Only events of this node.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only events since then: 30m, 2h, 1d, or a date with or without a time.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show every event, however many there are.")] = False,
    utc: Utc = False,
    plain: Plain = False,
    as_json: Json = False,
) -> None:
    """Show the events of a campaign.

    Shows time, node and attempt, state before and after, event, and its details. With more than 1,000 events, shows only the
    campaign's own events and the unusual ones of nodes, unless --all or --json is given.
    Includes events that the state machine ignored, with the reason.

    Example: faser-align history Y2023_R011705_F400-450 --campaign-only
    """
    from faser_align.cli.show import history_view
    from faser_align.operations import selection

    most = 0 if everything or as_json else history_view.EVENTS_MAX
    rows, hidden = selection.history(
        registry.find(campaign), node=node, since=since, nodes=not campaign_only, most=most
    )
    if as_json:
        console.show_json(rows)
    elif rows:
        draw.show([*history_view.left_out(hidden), *history_view.lines(rows, formatting.zone(utc=utc))], plain=plain)
    else:
        draw.show([draw.Line("no event matches")])


def metrics(
    campaign: Campaign,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write comma-separated values for programs.")] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Plot the convergence with characters instead.")] = False,
    plain: Plain = False,
) -> None:
    """Show the metrics of every iteration.

    They include the corrections of each degree of freedom.

    Example: faser-align metrics Y2023_R011705_F400-450 --csv
    """
    from faser_align.cli.show import figures
    from faser_align.operations import snapshot

    if as_json and as_csv:
        raise UserError("--json and --csv exclude each other; choose one of them")
    seen = snapshot.take(registry.find(campaign))
    records = figures.records(seen)
    if as_json:
        console.show_json(records)
    elif as_csv:
        figures.write_csv(records)
    elif records:
        if not plot or draw.is_plain(plain):
            draw.show(figures.tables(seen), plain=plain)
        if plot and draw.is_plain(plain):
            console.warn("plain output has no plot; the tables above show its numbers")
        elif plot:
            from faser_align.campaign.manifest import convergence_of, read_record
            from faser_align.cli.show import curves

            rules = convergence_of(read_record(seen["folder"]), seen["iterations"][-1]["stage"])
            drawings = curves.plots(seen, rules, draw.columns())
            for drawn in drawings:
                console.say(f"{draw.with_symbols(drawn)}\n")
            if not drawings:
                console.warn("nothing to plot: no iteration has chi2/ndf or expected corrections yet")
    else:
        draw.show([draw.Line(f"{seen['name']} has no finished iteration yet; it is {seen['state']}")])


def report(
    campaign: Campaign,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="File to write [default: NAME.html in this folder; text goes to standard output]."
        ),
    ] = "",
    as_text: Annotated[bool, typer.Option("--text", help="Write plain text, for a logbook.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a file that is not a report of this campaign.")
    ] = False,
    reference: Reference = "",
    plain: Plain = False,
    as_json: Json = False,
) -> None:
    """Write a report to judge or repeat a campaign.

    The report is one self-contained HTML file: mail it or publish it. It replaces an older report of the same campaign.

    Example: faser-align report Y2023_R011705_F400-450
    """
    from faser_align.cli.show import report as reporting
    from faser_align.operations import outputs

    folder = registry.find(campaign)
    if as_json and as_text:
        raise UserError("--json and --text exclude each other; choose one of them")
    if reference and (as_json or as_text):
        raise UserError(f"--reference {reference} is for the HTML page; leave it out")
    if as_json or as_text:
        if output == outputs.STANDARD_OUTPUT:
            output = ""
        if as_text and not output and not as_json:
            draw.show(reporting.blocks(folder), plain=plain)
            return
        text = reporting.as_json(folder) if as_json else draw.text(reporting.blocks(folder), plain=plain)
        if not output:
            typer.echo(text, nl=False)
            return
        outputs.write(output, text, force=force)
    else:
        output = reporting.write_page(folder, output, force=force, reference=reference)
    console.say(f"{os.path.abspath(output)} written")


def diagram(
    node: Annotated[
        bool, typer.Option("--node", help="Draw the states of a node instead of those of a campaign.")
    ] = False,
    form: Annotated[
        str, typer.Option("--format", help="mermaid, dot or svg.", autocompletion=one_of("mermaid", "dot", "svg"))
    ] = "mermaid",
) -> None:
    """Draw the states and the events between them.

    The diagram is generated from the table that the program uses.

    Example: faser-align diagram --format svg > states.svg
    """
    from faser_align.fsm import diagram as drawing

    forms = {"mermaid": drawing.mermaid, "dot": drawing.dot, "svg": drawing.svg}
    if form not in forms:
        raise UserError(f"--format {form}: must be mermaid, dot or svg")
    typer.echo(forms[form]("node" if node else "campaign"), nl=False)
