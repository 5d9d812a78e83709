"""Run ``submit``: show and check the plans, then submit one campaign or several."""

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from faser_align.cli import console
from faser_align.cli.show import plans
from faser_align.dag.plan import Plan
from faser_align.fsm.errors import CampaignError
from faser_align.fsm.plural import count
from faser_align.operations import checks, submission


class How(NamedTuple):
    """Options of ``submit``: dry run, show the steering (implies a dry run), ``check`` first, JSON output."""

    dry_run: bool
    steering: bool
    check: bool
    as_json: bool

    @property
    def really(self) -> bool:
        """Whether to submit anything."""
        return not (self.dry_run or self.steering)


def submit(planned: Plan, how: How) -> None:
    """Submit a planned campaign, and show the plan, warnings, and the next command."""
    schedd = submission.find_schedd(planned) if how.really else None
    if not how.as_json:
        for heading, value in plans.summary(planned).items():
            console.say(f"{heading + ':':13} {value}")
    _doubt(planned, how)
    if how.steering and not how.as_json:
        plans.show_steering(planned)
    cluster = None if schedd is None else submission.carry_out(planned, schedd)
    if how.as_json:
        console.show_json({**planned.record, "dry_run": not how.really, "cluster": cluster})
    elif cluster is None:
        console.say("\nnothing was written or submitted (--dry-run)")
    else:
        label, command = shlex.quote(planned.record["name"]), console.program()
        console.say(f"\nsubmitted as job {cluster}; you may close the terminal. Next:")
        for verb, why in (("status", "where it is"), ("watch", "the same, live"), ("stop", "end it")):
            console.say(f"  {command} {verb} {label}   # {why}")


def submit_each(planned: Sequence[Plan], how: How) -> None:
    """Submit several campaigns with one line each; submit nothing unless all of them are possible."""
    schedds = [submission.find_schedd(one) for one in planned] if how.really else []
    for one in planned:
        _doubt(one, how)
    made = []
    for place, one in enumerate(planned):
        summary = plans.summary(one)
        cluster = submission.carry_out(one, schedds[place]) if schedds else None
        made.append({**one.record, "dry_run": not how.really, "cluster": cluster})
        if not how.as_json:
            said = f"submitted as job {cluster}" if cluster else "planned"
            console.say(f"{one.record['name']}: {summary['data']}; {said}")
    if how.as_json:
        console.show_json(made)
    elif how.really:
        console.say(f"\n{count(len(made), 'campaign')}; see all with `{console.program()} list`")
    else:
        console.say("\nnothing was written or submitted (--dry-run)")


def _doubt(planned: Plan, how: How) -> None:
    """Show warnings; raise CampaignError if the campaign cannot work and is about to be submitted."""
    if not planned.record["config"]["notify"]["targets"]:
        console.warn("nobody will be told how it ends; name targets in notify.targets of the configuration")
    for doubt in filter(None, (submission.namesake(planned), submission.doubt(planned))):
        console.warn(doubt)
    refusal = "" if how.really else submission.refusal(planned)
    found = checks.before_submission(planned.record) if how.check else []
    for one in found:
        if one.result == "warning":
            console.warn(f"{one.name}: {one.text}")
    failed = [f"{one.name}: {one.text}" for one in found if one.result == "failed"]
    if failed and how.really:
        raise CampaignError(*failed, "nothing was submitted; --no-check submits all the same")
    for reason in filter(None, (refusal, *failed)):
        console.warn(f"without --dry-run this is refused: {reason}")
