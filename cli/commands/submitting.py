"""Show, check and submit planned campaigns, for the command ``submit``."""

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from faser_align.campaign.manifest_types import Manifest
from faser_align.cli import console
from faser_align.cli.show import plans
from faser_align.dag.plan import Plan
from faser_align.fsm.errors import CampaignError
from faser_align.fsm.plural import count
from faser_align.operations import checks, submission


class SubmitOptions(NamedTuple):
    """Options of ``submit``: ``steering`` shows the steering text and implies ``dry_run``; ``check`` runs the checks first."""

    dry_run: bool
    steering: bool
    check: bool
    as_json: bool

    @property
    def will_submit(self) -> bool:
        """Whether the campaign is submitted, not only shown."""
        return not (self.dry_run or self.steering)


def submit(planned: Plan, options: SubmitOptions) -> None:
    """Submit a planned campaign; show the plan, warnings and the next commands."""
    schedd = submission.find_schedd(planned) if options.will_submit else None
    if not options.as_json:
        for heading, value in plans.summary(planned).items():
            console.say(f"{heading + ':':13} {value}")
    _warn(planned, options)
    if options.steering and not options.as_json:
        plans.show_steering(planned)
    cluster = None if schedd is None else submission.carry_out(planned, schedd)
    following = ("status {}   # show its state", "watch {}   # the same, live", "stop {}   # end it")
    tell(planned.record, cluster, following, as_json=options.as_json)


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


def submit_each(planned: Sequence[Plan], options: SubmitOptions) -> None:
    """Submit several campaigns, one line each; none is submitted unless all of them can be."""
    schedds = [submission.find_schedd(plan) for plan in planned] if options.will_submit else []
    for plan in planned:
        _warn(plan, options)
    made = []
    for place, plan in enumerate(planned):
        summary = plans.summary(plan)
        cluster = submission.carry_out(plan, schedds[place]) if schedds else None
        made.append({**plan.record, "dry_run": not options.will_submit, "cluster": cluster})
        if not options.as_json:
            outcome = f"submitted as job {cluster}" if cluster else "planned"
            console.say(f"{plan.record['name']}: {summary['data']}; {outcome}")
    if options.as_json:
        console.show_json(made)
    elif options.will_submit:
        console.say(f"\n{count(len(made), 'campaign')}; see all with `{console.program()} list`")
    else:
        console.say("\nnothing was written or submitted (--dry-run)")


def _warn(planned: Plan, options: SubmitOptions) -> None:
    """Warn of possible mistakes; raises CampaignError if a campaign that cannot run would be submitted."""
    if not planned.record["config"]["notify"]["targets"]:
        console.warn("notify.targets is empty: nobody is notified when the campaign ends; add targets to it")
    console.warn(*filter(None, (submission.namesake(planned), submission.doubt(planned))))
    refusal = "" if options.will_submit else submission.refusal(planned)
    results = checks.before_submission(planned.record) if options.check else []
    for check in results:
        if check.result == "warning":
            console.warn(f"{check.name}: {check.text}")
    failed = [f"{check.name}: {check.text}" for check in results if check.result == "failed"]
    if failed and options.will_submit:
        raise CampaignError(*failed, "nothing was submitted; fix this, or submit without checks with --no-check")
    for reason in filter(None, (refusal, *failed)):
        console.warn(f"without --dry-run submit refuses this: {reason}")
