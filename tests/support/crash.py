"""Kill a script at its n-th executed line of ours.

Usage: crash.py N COUNT_FILE PACKAGES PHASE CAMPAIGN NODE MACROS... With N = 0 nothing is killed, and the number of lines
in PLACES is written to COUNT_FILE. There is no publish interval, so that each run executes the same lines however fast
the disk is.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

# Where something is written; a process of its own sends, and dies with the script.
PLACES = ("/hooks/", "/state/")


def main() -> None:
    last, counted = int(sys.argv[1]), Path(sys.argv[2])
    seen = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal seen
        if not any(place in frame.f_code.co_filename for place in PLACES):
            return None
        if event == "line":
            seen += 1
            if seen == last:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.path.insert(0, sys.argv[3])
    from faser_align.hooks import entry
    from faser_align.state import publish

    publish.SHARE = 1
    sys.settrace(trace)
    status = entry.main(sys.argv[4:])
    sys.settrace(None)
    if not last:
        counted.write_text(str(seen))
    os._exit(status)


if __name__ == "__main__":
    main()
