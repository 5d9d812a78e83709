"""Define the API for physicists: campaigns, constants, Mille files, the solver.

These names stay; everything else of the package may change from one version to the next.

Campaigns, by name or folder:

>>> from faser_align.api import Campaign, campaigns
>>> Campaign("Y2023_R011705_F400-405").state
'converged'

Stored campaigns judged again with other rules:

>>> from faser_align.api import replay
>>> (judged,) = replay(["Y2023_R011705_F400-405"], ["convergence.patience=1"])
>>> [(stage.ran, stage.stops_after, stage.decision) for stage in judged.stages]
[(4, 3, 'converged')]

The data of an iteration's figures (`FigureData`), with histograms (`Histogram`, `Profile`) that hist and mplhep draw:

>>> data = Campaign("Y2023_R011705_F400-405").figure_data(iteration=4)
>>> data.histogram("pulls").sum("module").values().shape
(100,)

Constants, by key as six numbers (mm, rad), and what the labels of Millepede's parameters mean:

>>> from faser_align.api import LABELS, add_constants, describe, read_constants, subtract_constants, write_constants
>>> constants = read_constants("inputforalign.txt")
>>> moved = add_constants(constants, {"003": (0.01, 0.0, 0.0, 0.0, 0.0, 0.0)})
>>> write_constants("moved.txt", moved)
>>> round(subtract_constants(read_constants("moved.txt"), constants)["003"][0], 6)
0.01
>>> describe(10302)
'module 3 of layer 0 of station 0, rotation about z'
>>> LABELS[10302].key, LABELS[10302].unit
('003', 'rad')

Tracks of a reconstruction become a Mille binary, which pede reads, too:

>>> from faser_align.api import Cuts, convert, read_records
>>> counts = convert(["kfalignment.root"], "mp2input.bin", Cuts(residual_max=0.5))
>>> counts.tracks_read, counts.tracks_written
(400, 400)
>>> len(read_records("mp2input.bin").offsets) - 1
400

A steering text is solved as pede would, and the result read from where either has written it:

>>> from faser_align.api import read_result, solve
>>> solution = solve("str.txt")
>>> solution.end_code, solution.n_variable
(1, 48)
>>> row = read_result("millepede.res")[10002]
>>> f"{1e3 * row.value:.2f} +- {1e3 * row.error:.2f} mrad"
'-1.19 +- 0.14 mrad'

An error says in one sentence what is wrong with a file:

>>> from faser_align.api import UserError
>>> try:
...     read_constants("none.txt")
... except UserError as problem:
...     print(problem)
cannot read the constants file none.txt: No such file or directory; check its name and permissions
"""

from faser_align.alignment.histograms import Histogram, Profile
from faser_align.alignment.mille.conversion import Cuts, convert
from faser_align.alignment.mille.counts import Counts
from faser_align.alignment.mille.records import Records, read_records
from faser_align.alignment.parameters.constants import (
    Constants,
    add_constants,
    read_constants,
    subtract_constants,
    write_constants,
)
from faser_align.alignment.parameters.labels import PARAMETERS as LABELS
from faser_align.alignment.parameters.labels import Parameter, describe
from faser_align.alignment.pede.results import read_result
from faser_align.alignment.pede.solution import Solution
from faser_align.alignment.quality.figure_data import FigureData
from faser_align.alignment.solver.builtin import solve
from faser_align.api.campaign import Campaign, campaigns, submit
from faser_align.fsm.errors import CampaignError, UserError
from faser_align.operations.replay import replay

__all__ = [
    "LABELS",
    "Campaign",
    "CampaignError",
    "Constants",
    "Counts",
    "Cuts",
    "FigureData",
    "Histogram",
    "Parameter",
    "Profile",
    "Records",
    "Solution",
    "UserError",
    "add_constants",
    "campaigns",
    "convert",
    "describe",
    "read_constants",
    "read_records",
    "read_result",
    "replay",
    "solve",
    "submit",
    "subtract_constants",
    "write_constants",
]
