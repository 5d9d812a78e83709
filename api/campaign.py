"""Read campaigns from their snapshots, and submit and control them as the commands do."""

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any

from faser_align.alignment.parameters.constants import Constants, read_constants
from faser_align.alignment.quality.figure_data import FigureData, read_figures
from faser_align.campaign import layout
from faser_align.campaign.manifest import read_record
from faser_align.fsm import table
from faser_align.fsm.errors import CampaignError, UserError
from faser_align.fsm.metrics import Metrics, Quality
from faser_align.operations import dagman, lifecycle, limits, waiting
from faser_align.pages.figures.plot import Plot
from faser_align.state import facts, queries, registry

Row = dict[str, Any]


def campaigns() -> list["Campaign"]:
    """Return all existing campaigns of this account, by name; ``faser-align list`` names any that cannot be read.

    >>> [campaign.name for campaign in campaigns()]
    ['Y2023_R011705_F400-405']
    """
    found = []
    for entry in registry.entries():
        with contextlib.suppress(CampaignError):
            found.append(Campaign(entry.folder))
    return found


def submit(
    year: int,
    run: str,
    files: str,
    *,
    iterations: int | None = None,
    stations: int | None = None,
    constants: str = "",
    config: str = "",
    name: str = "",
    check: bool = True,
) -> "Campaign":
    """Submit a campaign as ``faser-align submit`` does, and return it.

    Args:
        year, run: the data, for example 2023 and "011705".
        files: raw files, both ends included, for example "400-450".
        iterations: maximum number of iterations; None: as configured.
        stations: 3 without the IFT, 4 with it; None: as configured.
        constants: the file to start from; empty: as configured.
        config: the configuration file; empty: ``faser-align.toml`` here.
        name: name of the campaign and its folder; empty: as configured.
        check: check first whether it could run, and refuse it otherwise.

    Raises:
        UserError: a value is wrong, or this user cannot submit here.
        CampaignError: the campaign could not run, or HTCondor refuses it; nothing is left of it.
    """
    from faser_align.operations import submission

    request = submission.Request(
        year=year,
        runs=(run,),
        files=(files,),
        iterations=iterations,
        threest=stations == 3,
        fourst=stations == 4,
        constants=constants,
        config=config,
        name=name,
    )
    return _submit(request, check=check)


def _submit(request: Any, *, check: bool) -> "Campaign":
    from faser_align.operations import checks, submission

    planned = submission.prepare(request)
    schedd = submission.find_schedd(planned)
    failed = [one for one in checks.before_submission(planned.record) if one.result == "failed"] if check else []
    if failed:
        raise CampaignError("; ".join(f"{one.name}: {one.text}" for one in failed))
    submission.carry_out(planned, schedd)
    return Campaign(planned.folder)


class Campaign:
    """A campaign, by its name or its folder. Each property reads the snapshot anew.

    >>> campaign = Campaign("Y2023_R011705_F400-405")
    >>> campaign.state, campaign.ended
    ('converged', True)

    Raises:
        UserError: there is no such campaign; names the nearest.
    """

    def __init__(self, name: str | os.PathLike[str]) -> None:
        self.folder = registry.find(os.fspath(name))
        self.record = read_record(self.folder)
        self.name: str = self.record["name"]

    def __repr__(self) -> str:
        return f"Campaign({self.folder!r})"

    @property
    def state(self) -> str:
        """State of the campaign, one of those drawn by ``faser-align diagram``."""
        with queries.published(self.folder) as db:
            return str(queries.campaign_now(db, self.folder)["state"])

    @property
    def ended(self) -> bool:
        """Whether it has ended, successfully or not."""
        return self.state in table.ENDS

    def iterations(self) -> list[Row]:
        """Return one row of numbers per iteration that has begun, ready for a table.

        Keys: stage, iteration, files_used, files_expected, tracks, chi2_per_ndf, residual_shift_um,
        delta_chi2_per_parameter, verdict, solver, and the largest correction with its error, unit and place. None where there is
        no number. ``effect_um`` and ``significance`` are deprecated names.

        >>> campaign = Campaign("Y2023_R011705_F400-405")
        >>> [(row["iteration"], row["verdict"]) for row in campaign.iterations()]
        [(1, 'go_on'), (2, 'go_on'), (3, 'go_on'), (4, 'converged')]
        >>> campaign.iterations()[-1]["chi2_per_ndf"]
        1.003
        """
        with queries.published(self.folder) as db:
            rows: list[Row] = [{**facts.summary(row)} for row in queries.iterations(db)]
        for row in rows:
            largest = row.pop("largest") or {}
            row |= {f"largest_{key}": largest.get(key) for key in ("value", "error", "unit", "dof", "where")}
        return rows

    def metrics(self) -> list[Metrics]:
        """The metrics of each solved iteration as its Millepede job wrote them, nested; docs/metrics.md explains each.

        >>> Campaign("Y2023_R011705_F400-405").metrics()[0]["corrections"]["module.y"]["unit"]
        'um'
        """
        with queries.published(self.folder) as db:
            return [row["metrics"] for row in queries.iterations(db) if row["metrics"]]

    def quality(self) -> Quality | None:
        """Return the quality block of the latest constants: graded lines and a sentence; None before the first.

        >>> quality = Campaign("Y2023_R011705_F400-405").quality()
        >>> quality["grade"], [(line["name"], line["grade"]) for line in quality["lines"]]
        ('look', [('dropped', 'good')])
        """
        with queries.published(self.folder) as db:
            return facts.quality(self.record, queries.iterations(db), queries.validation(db))

    def plots(self, stage: int = 0, iteration: int = 0) -> list[Plot]:
        """Return the figures of an iteration beside the first of its stage; by default of the last stage and iteration.

        Each has a ``name``, a ``title``, a ``table`` of its numbers, and a ``figure`` of matplotlib, which may be changed
        before it is saved.

        >>> plots = {plot.name: plot for plot in Campaign("Y2023_R011705_F400-405").plots()}
        >>> columns, rows = plots["occupancy"].table()
        >>> columns
        ('quantity', 'unit', 'series', 'element', 'value', 'error')
        >>> plots["occupancy"].figure("FASER Internal").savefig("hits.png")

        Raises:
            UserError: the campaign has no such iteration, or none that was solved.
        """
        from faser_align.pages.collect import collect
        from faser_align.pages.figures.catalogue import plots
        from faser_align.pages.figures.source import source

        return plots(source(collect(self.folder), stage, iteration))

    def figure_data(self, stage: int = 1, iteration: int = 1) -> FigureData | None:
        """Return the data of an iteration's figures; None if it has none, as in campaigns of older versions.

        Histograms follow the protocol of Scikit-HEP: hist and mplhep draw them. The two halves of a validation are stage 0,
        iterations 1 (with the first constants) and 2 (with the last ones).

        >>> data = Campaign("Y2023_R011705_F400-405").figure_data(iteration=4)
        >>> residuals = data.layer_residuals("01")
        >>> residuals.kind, residuals.axes[0].label, len(residuals.values())
        ('COUNT', 'residual [µm]', 250)
        >>> data.layer_medians().keys() == {f"{station}{layer}" for station in range(4) for layer in range(3)}
        True

        Raises:
            UserError: the file is damaged.
        """
        return read_figures(layout.figures_file(self.folder, stage, iteration))

    def history(self, *, nodes: bool = True) -> list[Row]:
        """Every event in order, with its payload; without ``nodes`` only those of the campaign itself.

        >>> Campaign("Y2023_R011705_F400-405").history(nodes=False)[-1]["destination"]
        'converged'
        """
        with queries.published(self.folder) as db:
            return queries.history(db, nodes=nodes)

    def constants(self, stage: int = 0, iteration: int = 0) -> Constants:
        """Return the constants of an iteration by key, as six numbers (mm, rad); by default the latest.

        >>> campaign = Campaign("Y2023_R011705_F400-405")
        >>> campaign.constants()["003"][1]
        0.02
        >>> campaign.constants(iteration=1) == campaign.constants()
        False

        Raises:
            UserError: the iteration has no constants, they cannot be read, or a stage is given without an iteration.
        """
        if stage and not iteration:
            raise UserError(f"stage {stage} of {self.name} has several iterations; name the iteration, too")
        if not iteration:
            with queries.published(self.folder) as db:
                path = queries.latest_constants(db, self.folder)
            if path is None:
                raise UserError(f"{self.name} has no constants yet; it is {self.state}")
            return read_constants(path)
        return read_constants(layout.result_file(self.folder, stage or 1, iteration))

    def start_constants(self) -> Constants:
        """Return the constants that the campaign started from (mm, rad)."""
        return read_constants(layout.constants_file(self.folder, 1, 1))

    def stop(self) -> str:
        """End the campaign, and return its end state; ``resume`` continues it.

        Raises:
            UserError: it does not run.
            CampaignError: HTCondor refuses, or no end was published.
        """
        return lifecycle.stop(self.folder).state

    def stop_after_iteration(self, *, wanted: bool = True) -> None:
        """Request that the campaign stops after the current iteration, or withdraw the request."""
        lifecycle.stop_after(self.folder, "iteration" if wanted else "never")

    def resume(self) -> int:
        """Continue a campaign that failed or was removed; return the cluster of its new DAGMan job.

        Raises:
            UserError: there is nothing to resume, or its DAGMan is in the queue.
            CampaignError: HTCondor refuses.
        """
        return lifecycle.resume(self.folder).cluster

    def extend(self, iterations: int) -> int:
        """Allow that many more iterations; return the cluster of the new DAGMan job.

        Raises:
            UserError: it has not ended, has converged, or cannot have so many.
            CampaignError: HTCondor refuses.
        """
        from faser_align.operations import extension

        return int(extension.extend(self.folder, iterations).cluster or 0)

    def set(self, values: Mapping[str, Any]) -> None:
        """Change limits while the campaign runs, for example ``{"convergence.patience": 3}``.

        Raises:
            UserError: a key cannot be changed or a value is not allowed; nothing is changed.
        """
        limits.change(self.folder, [f"{key}={_text(key, value)}" for key, value in values.items()])

    def fork(
        self,
        *,
        stage: int | None = None,
        iteration: int | None = None,
        iterations: int | None = None,
        config: str = "",
        name: str = "",
        check: bool = True,
    ) -> "Campaign":
        """Submit another campaign from the constants of an iteration, the latest by default, and return it.

        Data and configuration are those of this campaign, unless ``config`` names another one.
        """
        from faser_align.operations import forking, submission

        parent = forking.find(self.folder, stage, iteration)
        return _submit(submission.Request(iterations=iterations, config=config, name=name, parent=parent), check=check)

    def wait(self, timeout_s: float | None = None) -> str | None:
        """Wait until the campaign has ended; return its end state, or None after a timeout or if no script can end it."""
        return waiting.wait(self.folder, timeout_s=timeout_s, stuck=lambda folder: dagman.look(folder).sentence).end


def _text(key: str, value: Any) -> str:
    """Return a value as ``set`` reads it; numbers may be numpy's."""
    try:
        return json.dumps(value, default=lambda other: other.item())
    except (AttributeError, TypeError, ValueError):
        raise UserError(
            f"set: {key} = {value!r} is not allowed: it must be text, a number, or a list of these"
        ) from None
