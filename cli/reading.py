"""Commands that read: ``list``, ``status``, ``watch``, ``wait``, ``history``, ``metrics``, ``report``, ``diagram``.

They read the published copy of a campaign, on whatever machine, and never its database.
"""

import os
from typing import Annotated

import typer

from faser_align.cli import console
from faser_align.cli.arguments import Campaign, Json

Utc = Annotated[bool, typer.Option("--utc", help="Times in UTC, not in this machine's zone.")]
Interval = Annotated[float, typer.Option(min=0.05, help="Seconds between two looks.")]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("list")(list_campaigns)
    for command in (status, watch, wait, history, metrics, report, diagram):
        app.command()(command)


def list_campaigns(
    state: Annotated[list[str] | None, typer.Option(help="Only campaigns in this state; may be repeated.")] = None,
    run: Annotated[
        list[str] | None, typer.Option("--run", "-r", help="Only those with this run; may be repeated.")
    ] = None,
    year: Annotated[list[int] | None, typer.Option("--year", "-y", help="Only this year; may be repeated.")] = None,
    utc: Utc = False,
    as_json: Json = False,
) -> None:
    """List all campaigns of this account, newest first.

    HTCondor is asked once for all of them: one that no hook can move is called stuck, with the cure below the table.

    Example: faser-align list --state converged
    """
    from faser_align.cli import dagman, draw, screens, selection, words

    rows = selection.campaigns(state or [], runs=run or [], years=year or [])
    looks, problems = dagman.look_at_all(rows)
    if as_json:
        console.show_json([{**look.seen, "dagman": look.trouble, "dagman_stuck": look.stuck} for look in looks])
        return
    for row in rows:
        if "problem" in row:
            console.warn(f"{row['name']} cannot be read: {row['problem']}")
    for problem in problems:
        console.warn(problem)
    if rows:
        stuck = [look for look in looks if look.stuck]
        draw.show([screens.campaigns(rows, words.zone(utc=utc), {look.seen["folder"] for look in stuck})])
        for look in stuck:
            console.say(screens.nothing_comes(look.seen, look.trouble, look.cure))
    elif state and not (run or year):
        console.say(f"no campaign is {' or '.join(state)}; see all with `{console.program()} list`")
    elif state or run or year:
        console.say(f"no campaign is like that; see all with `{console.program()} list`")
    else:
        console.say(f"no campaign yet; begin with `{console.program()} init`, then `{console.program()} submit --help`")


def status(campaign: Campaign, utc: Utc = False, as_json: Json = False) -> None:
    """Show how a campaign stands, and why.

    State and reason, iterations, what is unusual, what to do next.
    The largest correction is written with its size, its direction, and the module (3 digits) or layer (2 digits).
    HTCondor is asked once whether the campaign's DAGMan can work, and which jobs wait in its queue. If it does not answer a
    node is "in HTCondor" from before its job is submitted until its result is checked.

    Example: faser-align status Y2023_R011705_F400-450
    """
    from faser_align.cli import dagman, draw, screens, words
    from faser_align.state import registry

    look = dagman.look(registry.find(campaign))
    if as_json:
        following = screens.next_command(look.seen, console.program(), cure=look.cure)
        rows = [{key: value for key, value in row.items() if key != "metrics"} for row in look.seen["iterations"]]
        dagman_now = {"dagman": look.trouble, "dagman_gone": look.gone, "dagman_stuck": look.stuck}
        console.show_json({**look.seen, "iterations": rows, **dagman_now, "next": following})
        return
    where = words.zone(utc=utc)
    told = screens.status(
        look.seen, program=console.program(), trouble=look.trouble, stuck=look.stuck, cure=look.cure, where=where
    )
    draw.show(told)


def watch(campaign: Campaign, interval: Interval = 1.0) -> None:
    """Show the status live until the campaign ends.

    Without a terminal, write a line for each change. Ctrl-C ends the watching, not the campaign. For programs there is
    no --json here: `wait --json` tells the end, `status --json` how it stands.

    Example: faser-align watch Y2023_R011705_F400-450
    """
    import shlex

    from faser_align.cli import dagman, draw, progress, screens, snapshot
    from faser_align.fsm.errors import CampaignError
    from faser_align.state import registry

    folder = registry.find(campaign)
    look = dagman.look(folder)
    if look.stuck:
        raise CampaignError(screens.nothing_comes(look.seen, look.trouble, look.cure))
    program, live = console.program(), progress.has_terminal()
    if not live:
        if look.trouble:
            console.warn(look.trouble)
        console.say(f"{look.seen['name']}  {look.seen['state']}: {look.seen['reason']}")
    try:
        if live:
            progress.watch_live(folder, program=program, trouble=look.trouble, interval_s=interval)
        else:
            progress.follow(folder, lambda line: draw.show([line]), after=look.seen["last_event"], interval_s=interval)
    except KeyboardInterrupt:
        if live:
            draw.show(screens.status(snapshot.take(folder), program=program, trouble=look.trouble))
        console.say(f"the campaign goes on; look again with `{program} watch {shlex.quote(campaign)}`")
        raise typer.Exit(130) from None  # 128 + SIGINT, as shells do
    now = snapshot.take(folder)
    draw.show(screens.status(now, program=program) if live else screens.onwards(now, program))


def wait(
    campaign: Campaign,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds after which to give up.")] = None,
    interval: Interval = 1.0,
    as_json: Json = False,
) -> None:
    """Wait until a campaign has ended; the exit status says how.

    \b
     0  converged    12  stalled     15  failed
    10  exhausted    13  starved     16  removed
    11  diverged     14  rejected    17  not ended in time
    18  no hook can end it: its DAGMan is held, gone, or cannot run
     2  no such campaign

    HTCondor is asked at the beginning, and again whenever there was no news for ten minutes.

    Example: faser-align wait Y2023_R011705_F400-450 --timeout 3600
    """
    from faser_align.cli import dagman, progress, screens, snapshot
    from faser_align.state import registry

    folder = registry.find(campaign)
    look = dagman.look(folder)
    if look.trouble and not look.stuck:
        console.warn(look.trouble)
    found = progress.Outcome(None, screens.nothing_comes(look.seen, look.trouble, look.cure) if look.stuck else "")
    if not found.stuck:
        found = progress.wait(folder, timeout_s=timeout, interval_s=interval, stuck=dagman.look_again)
    seen = snapshot.take(folder)
    exit_status = progress.exit_status(found)
    if as_json:
        keys = ("name", "state", "reason", "constants")
        late = exit_status == progress.TIMEOUT
        told = {"timeout": late, "stuck": found.stuck, "exit_status": exit_status}
        console.show_json({**{key: seen[key] for key in keys}, **told})
    elif found.stuck:
        console.say(found.stuck)
    else:
        late_words = "" if found.end else " (not ended in time)"
        console.say(f"{seen['name']}  {seen['state']}{late_words}: {seen['reason']}")
    raise typer.Exit(exit_status)


def history(
    campaign: Campaign,
    campaign_only: Annotated[
        bool, typer.Option("--campaign-only/--nodes", help="Only the campaign's own events, or those of nodes too.")
    ] = False,
    node: Annotated[str | None, typer.Option(help="Only what concerns this node.")] = None,
    since: Annotated[str | None, typer.Option(help="30m, 2h, 1d, or a date with or without a time.")] = None,
    utc: Utc = False,
    as_json: Json = False,
) -> None:
    """Show what happened, event by event.

    Time, node and attempt, from, to, event, and the facts behind it.
    Events that the states do not allow are there too, marked as ignored, with the reason.

    Example: faser-align history Y2023_R011705_F400-450 --campaign-only
    """
    from faser_align.cli import chronicle, draw, selection, words
    from faser_align.state import registry

    rows = selection.history(registry.find(campaign), node=node, since=since, nodes=not campaign_only)
    if as_json:
        console.show_json(rows)
    elif rows:
        draw.show(chronicle.lines(rows, words.zone(utc=utc)))
    else:
        console.say("nothing happened that was asked for")


def metrics(
    campaign: Campaign,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write comma-separated values for programs.")] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the convergence with characters, too.")] = False,
) -> None:
    """Show the numbers of every iteration.

    Among them are the corrections of each degree of freedom.

    Example: faser-align metrics Y2023_R011705_F400-450 --csv
    """
    from faser_align.cli import draw, figures, snapshot
    from faser_align.fsm.errors import UserError
    from faser_align.state import registry

    if as_json and as_csv:
        raise UserError("--json and --csv exclude each other; give one of them")
    seen = snapshot.take(registry.find(campaign))
    records = figures.records(seen)
    if as_json:
        console.show_json(records)
    elif as_csv:
        figures.write_csv(records)
    elif records:
        draw.show(figures.tables(seen))
        if plot:
            import shutil

            from faser_align.cli import curves
            from faser_align.config.record import read_record

            rules = read_record(seen["folder"])["config"]["convergence"]
            for drawn in curves.plots(seen, rules, shutil.get_terminal_size().columns):
                console.say(f"\n{drawn}")
    else:
        console.say(f"{seen['name']} has no finished iteration yet; it is {seen['state']}")


def report(
    campaign: Campaign,
    output: Annotated[
        str, typer.Option("--output", "-o", help="File to write; without: NAME.html here, a text to standard output.")
    ] = "",
    as_text: Annotated[bool, typer.Option("--text", help="Plain text, for the logbook.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is something else.")] = False,
    as_json: Json = False,
) -> None:
    """Write all that is needed to judge or repeat a campaign.

    It is one HTML file that a browser shows anywhere, from a mail's attachment too, and needs nothing from elsewhere.
    An older report of the same campaign is replaced.

    Example: faser-align report Y2023_R011705_F400-450
    """
    from faser_align.cli import reporting
    from faser_align.state import registry

    folder = registry.find(campaign)
    if as_json or as_text:
        text = reporting.as_json(folder) if as_json else reporting.as_text(folder)
        if not output:
            typer.echo(text, nl=False)
            return
        reporting.write(output, text, force=force)
    else:
        output = reporting.write_page(folder, output, force=force)
    console.say(f"{os.path.abspath(output)} written")


def diagram(
    node: Annotated[bool, typer.Option("--node", help="The states of a node, not those of a campaign.")] = False,
    form: Annotated[str, typer.Option("--format", help="mermaid or dot.")] = "mermaid",
) -> None:
    """Draw the states and the events between them.

    The diagram is made from the table that the program uses.

    Example: faser-align diagram --format dot | dot -Tsvg -o states.svg
    """
    from faser_align.fsm import diagram as drawing
    from faser_align.fsm.errors import UserError

    forms = {"mermaid": drawing.mermaid, "dot": drawing.dot}
    if form not in forms:
        raise UserError(f"--format {form} is not known; it must be {' or '.join(forms)}")
    typer.echo(forms[form]("node" if node else "campaign"), nl=False)
