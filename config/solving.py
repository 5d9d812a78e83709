"""Define the keys of the solution: selection, stages and steps, the solver, and the survey."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, StringConstraints, ValidationError, model_validator

from faser_align.config.decisions import Convergence
from faser_align.config.fields import PROGRAM, Line, NotNegative, Place, Positive, Table, key
from faser_align.config.values import check_fix, check_run
from faser_align.fsm import renamed

FIX_ALLOWED = (
    '"frame", "rx", "ry", "IFT", "3ST", "layer" (or "global"), "module" (or "side", "local"), a part with a depth such as "IFT_layer", '
    '"3ST_side" or "IFT_rx", or a layer\'s number: 10 11 12 (IFT) 20 21 22 30 31 32 40 41 42'
)
FixItem = Annotated[int | str, PlainValidator(check_fix)]


class Mille(Table):
    """Selection of tracks and hits for the alignment."""

    chi2_max: Positive = key(2000.0, "Maximum chi2 of a track.")
    pz_min: NotNegative = key(100.0, "Minimum momentum along the beam (GeV).")
    pz_max: Positive = key(5000.0, "Maximum momentum along the beam (GeV).")
    hits_min: Annotated[int, Field(ge=6, le=48)] = key(15, "Minimum number of hits of a track.")
    residual_max: Annotated[list[Positive], Field(min_length=1, max_length=99)] = key(
        [1.0, 0.05], "Maximum |residual| of a hit (mm), one value per iteration; the last value repeats."
    )
    derivative_max: Positive = key(
        10.0,
        'With `pivot = "calypso"`: maximum |d residual / d rotation about x or y| of a layer (mm/rad). faser-alignment-script uses 2, which '
        "cuts 43 % of the IFT's hits with the constants of 2025; 10 cuts none.",
    )
    pivot: Literal["calypso", "layer"] = key(
        "layer",
        "Derivatives by rotations of layers: about the hit's z, as Calypso writes them, or as the constants rotate the layer.",
    )

    @model_validator(mode="after")
    def _window_is_open(self) -> "Mille":
        if self.pz_min >= self.pz_max:
            raise ValueError(f"pz_min = {self.pz_min:g} must be below pz_max = {self.pz_max:g}")
        return self


class Presigma(Table):
    """Presigma of one kind of parameter; 0: that of `[solver.presigma]` in a step, else `presigma_mm` or `presigma_rad`."""

    layer_x: NotNegative = key(0.0, "x of layers, along the strips (mm).")
    layer_y: NotNegative = key(0.0, "y of layers, across the strips (mm).")
    layer_rx: NotNegative = key(0.0, "Rotation of layers about x (rad).")
    layer_ry: NotNegative = key(0.0, "Rotation of layers about y (rad).")
    layer_rz: NotNegative = key(0.0, "Rotation of layers about z (rad).")
    module_x: NotNegative = key(0.0, "x of the sides of modules, across the strips (mm).")
    module_rz: NotNegative = key(0.0, "Rotation of modules about z (rad).")


class Step(Table):
    """One run of the solver within an iteration."""

    name: Annotated[Line, StringConstraints(min_length=1)] = key("all in one step", "Name, shown in tables.")
    fix: list[FixItem] = key(
        ["frame", "rx", "ry"], "Parameters to fix; all others are free.", f"a list of {FIX_ALLOWED}"
    )
    extra_lines: list[Line] = key([], "Further steering lines of this step, after `solver.options`, for experts.")
    parameters: Place = key(
        "", "File with your own `Parameter` lines; their non-zero numbers override the generated ones."
    )
    presigma: Presigma = Presigma()
    freeze_sigma: NotNegative = key(
        0.0,
        "Freeze directions in which the error by the tracks exceeds this many standard deviations of `[survey]`: the constants "
        "stay at the campaign's start along them. Log and metrics name them. 0: none.",
    )


def check_criteria(criteria: dict[str, Any]) -> dict[str, Any]:
    """Return a stage's own criteria; raise ValueError if ``[convergence]`` does not allow them."""
    try:
        Convergence.model_validate(criteria)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        if problem["type"] == "extra_forbidden":
            raise ValueError(f"{problem['loc'][0]} is not a key of [convergence]") from None
        raise ValueError(f"{problem['loc'][0]}: {problem['msg'][:1].lower()}{problem['msg'][1:]}") from None
    return renamed.convergence(criteria)


class Stage(Table):
    """Iterations that free the same parameters; stages run one after another."""

    name: Annotated[Line, StringConstraints(min_length=1)] = key("all", "Name, shown in tables.")
    iterations: Annotated[int, Field(ge=0, le=99)] = key(0, "Iteration limit; 0: `campaign.iterations`.")
    stations: Literal[0, 3, 4] = key(0, "Tracker stations of this stage's tracks; 0: `campaign.stations`.")
    at_limit: Literal["continue", "stop"] = key(
        "continue",
        "What to do if the stage has not converged in its last iteration: `continue` with the next stage, or `stop` the campaign "
        "as `exhausted` (always so after the last stage).",
    )
    convergence: Annotated[dict[str, Any], AfterValidator(check_criteria)] = key(
        {}, "Criteria of this stage; they override those of `[convergence]`.", "a table with keys of `[convergence]`"
    )
    steps: Annotated[list[Step], Field(min_length=1, max_length=9)] = Field(default=[Step()])


class Solver(Table):
    """How each iteration is solved."""

    backend: Literal["builtin", "pede"] = key("builtin", "The built-in solver, or Millepede II's pede.")
    pede: Annotated[Line, PROGRAM, StringConstraints(min_length=1)] = key(
        "pede", "pede's command or path (backend `pede`)."
    )
    environment: Place = key(
        "", "Script to source before pede, for example ROOT's `thisroot.sh` (backend `pede`); empty: none."
    )
    method: Annotated[Line, StringConstraints(min_length=1)] = key(
        "inversion 3 0.001",
        "Solution method, number of iterations and limit on the expected decrease of chi2 (pede's `method`).",
    )
    hugecut: Positive = key(2000.0, "Reject a track whose chi2 exceeds this multiple of its 3-sigma limit.")
    entries: Annotated[int, Field(ge=1)] = key(
        25, "Minimum number of measurements of a parameter; a parameter with fewer is fixed."
    )
    presigma_mm: Positive = key(0.05, "Presigma of translations (mm).")
    presigma_rad: Positive = key(0.005, "Presigma of rotations (rad).")
    presigma: Presigma = Presigma()
    threads: Annotated[int, Field(ge=1, le=256)] = key(1, "Threads of the solver.")
    options: list[Line] = key([], "Further steering lines, for experts.")
    weights: dict[Annotated[str, AfterValidator(check_run)], Positive] = key(
        {},
        "Weights of the runs in a campaign of several runs; a run that is not listed has weight 1.",
        'a table such as `{ "011706" = 0.5 }`, runs with six digits, weights above 0',
    )
    warnings_ok: list[Literal[2, 3, 4]] = key(
        [2, 3, 4],
        "pede's end codes of severe warnings whose result is accepted: 2 few measurements, 3 bad matrix, 4 bad binaries.",
    )


class Survey(Table):
    """Accuracies (one standard deviation) of the constants before the alignment, for weak modes.

    The defaults are sizes by which FASER's real constants changed. With a survey, set its accuracies.
    """

    layer_x: Positive = key(0.05, "x of layers, along the strips (mm).")
    layer_y: Positive = key(0.06, "y of layers, across the strips (mm).")
    layer_rx: Positive = key(0.0002, "Rotation of layers about x (rad).")
    layer_ry: Positive = key(0.0002, "Rotation of layers about y (rad).")
    layer_rz: Positive = key(0.0003, "Rotation of layers about z (rad).")
    module_x: Positive = key(0.025, "x of modules, across their strips (mm).")
    module_y: Positive = key(0.1, "y of modules, along their strips (mm).")
    module_rz: Positive = key(0.0004, "Rotation of modules about z (rad).")
    weak: Annotated[float, Field(ge=1, allow_inf_nan=False)] = key(
        20.0,
        "A direction is a weak mode if the error by the tracks exceeds this many standard deviations of the survey.",
    )
