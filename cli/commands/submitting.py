"""Show, check and submit planned campaigns, for the command ``submit``."""

import shlex
from collections.abc import Sequence

from faser_align.campaign.manifest_types import Manifest
from faser_align.cli import console
from faser_align.cli.show import plans
from faser_align.dag.plan import Plan
from faser_align.fsm.errors import CampaignError
from faser_align.fsm.plural import count
from faser_align.operations import checks, submission


def submit(planned: Plan, *, dry_run: bool, steering: bool, check: bool, as_json: bool) -> None:
    """Submit a planned campaign; show plan, warnings, the ``steering`` texts if requested, and the next commands."""
    schedd = None if dry_run else submission.find_schedd(planned)
    if not as_json:
        for heading, value in plans.summary(planned).items():
            console.say(f"{heading + ':':13} {value}")
    _warn(planned, dry_run=dry_run, check=check)
    if steering and not as_json:
        plans.show_steering(planned)
    cluster = None if schedd is None else submission.carry_out(planned, schedd)
    following = ("status {}   # show its state", "watch {}   # the same, live", "stop {}   # end it")
    tell(planned.record, cluster, following, as_json=as_json)


def tell(record: Manifest, cluster: int | None, following: Sequence[str], *, as_json: bool) -> None:
    """Show the job of a submitted campaign and the commands that follow; a ``cluster`` of None is a dry run."""
    if as_json:
        console.show_json({**record, "dry_run": cluster is None, "cluster": cluster})
    elif cluster is None:
        console.say("\nnothing was written or submitted (--dry-run)")
    else:
        console.say(f"\nsubmitted as job {cluster}; you may close the terminal. Next:")
        for command in following:
            console.say(f"  {console.program()} {command.format(shlex.quote(record['name']))}")


def submit_each(planned: Sequence[Plan], *, dry_run: bool, check: bool, as_json: bool) -> None:
    """Submit several campaigns, one line each; none is submitted unless all of them can be."""
    schedds = [] if dry_run else [submission.find_schedd(plan) for plan in planned]
    for plan in planned:
        _warn(plan, dry_run=dry_run, check=check)
    made = []
    for place, plan in enumerate(planned):
        summary = plans.summary(plan)
        cluster = submission.carry_out(plan, schedds[place]) if schedds else None
        made.append({**plan.record, "dry_run": dry_run, "cluster": cluster})
        if not as_json:
            outcome = f"submitted as job {cluster}" if cluster else "planned"
            console.say(f"{plan.record['name']}: {summary['data']}; {outcome}")
    if as_json:
        console.show_json(made)
    elif dry_run:
        console.say("\nnothing was written or submitted (--dry-run)")
    else:
        console.say(f"\n{count(len(made), 'campaign')}; see all with `{console.program()} list`")


def _warn(planned: Plan, *, dry_run: bool, check: bool) -> None:
    """Warn of possible mistakes; raises CampaignError if a campaign that cannot run would be submitted."""
    if not planned.record["config"]["notify"]["targets"]:
        console.warn("notify.targets is empty: nobody is notified when the campaign ends; add targets to it")
    warnings = (submission.namesake, submission.limit_without_effect, submission.doubt)
    console.warn(*filter(None, (warning(planned) for warning in warnings)))
    refusal = submission.refusal(planned) if dry_run else ""
    results = checks.before_submission(planned.record) if check else []
    console.warn(*(f"{one.name}: {one.text}" for one in results if one.result == "warning"))
    failed = [f"{one.name}: {one.text}" for one in results if one.result == "failed"]
    if failed and not dry_run:
        raise CampaignError(*failed, "nothing was submitted; fix this, or submit without checks with --no-check")
    reasons = filter(None, (refusal, *failed))
    console.warn(*(f"without --dry-run submit refuses this: {reason}" for reason in reasons))
