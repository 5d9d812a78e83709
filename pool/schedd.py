"""Find the schedd for campaigns: that of the personal pool, or the machine's own."""

import os
from pathlib import Path
from typing import Any, Literal

from faser_align.fsm.errors import UserError
from faser_align.pool import machine, personal
from faser_align.system import interrupts
from faser_align.system.attempt import first_line

PoolKind = Literal["personal", "system"]


@interrupts.delayed()
def schedd(kind: PoolKind = "personal", folder: Path | None = None) -> Any:
    """Return a ``htcondor2.Schedd`` that just answered.

    ``kind`` is the configuration's ``htcondor.pool``; ``folder`` is that of a personal pool other than the user's
    default one. This process then uses that pool. Raises UserError with the fix if no schedd answers.
    """
    if kind == "personal":
        machine.condor_master()
        personal.use(folder)
        cure = "start the pool with `faser-align pool start`"
    else:
        named = os.environ.get("CONDOR_CONFIG", "ONLY_ENV")
        if named != "ONLY_ENV" and not os.path.exists(named):  # HTCondor's own error would come first
            raise UserError(
                f"CONDOR_CONFIG = {named}: there is no such file; unset it, or name HTCondor's configuration"
            )
        cure = 'work on an access point of the pool, or set htcondor.pool = "personal"'
    import htcondor2

    try:
        found = htcondor2.Schedd()
        # The constructor accepts an address file older than the last reboot; a query does not.
        found.query(constraint="false", projection=["ClusterId"])
    except htcondor2.HTCondorException as error:
        raise UserError(f"no HTCondor schedd answers ({first_line(error)}); {cure}") from error
    except KeyError as error:  # raised by the bindings for an ad without MyAddress
        raise UserError(f"no HTCondor schedd answers (the collector does not know its address); {cure}") from error
    return found
