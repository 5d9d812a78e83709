"""What a physicist imports: campaigns, constants, Mille files, the solver.

These names stay; everything else of the package may change from one version to the next.

>>> from faser_align.api import Campaign
>>> Campaign("Y2023_R011705_F400-405").state
'converged'
"""

from faser_align.alignment.constants import (
    Constants,
    add_constants,
    read_constants,
    subtract_constants,
    write_constants,
)
from faser_align.alignment.labels import PARAMETERS as LABELS
from faser_align.alignment.labels import Parameter, describe
from faser_align.alignment.mille import Counts, Cuts, convert
from faser_align.alignment.millepede import read_result
from faser_align.alignment.records import Records, read_records
from faser_align.alignment.solution import Solution
from faser_align.alignment.solver import solve
from faser_align.api.campaign import Campaign, campaigns
from faser_align.fsm.errors import CampaignError, UserError

__all__ = [
    "LABELS",
    "Campaign",
    "CampaignError",
    "Constants",
    "Counts",
    "Cuts",
    "Parameter",
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
    "solve",
    "subtract_constants",
    "write_constants",
]
