"""Start a script for DAGMan: ``python -I -S run.py pre|post|hold|final CAMPAIGN MACROS...``.

Python keeps no compiled copy of this file, so that it only finds the package and starts ``hooks.entry``. Without
site-packages a script starts in a tenth of the time; code that needs them calls ``system.libraries.site_packages``.
"""

import gc
import os
import sys

if __name__ == "__main__":
    gc.disable()  # of no use in so short a process
    os.umask(os.umask(0o022) | 0o022)  # a campaign's files are their owner's to write, whatever the umask of a shell
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from faser_align.hooks import sqlite

    sqlite.load()
    from faser_align.hooks import entry

    status = entry.main(sys.argv[1:])
    # Freeing every object one by one would take longer than the script.
    sys.stderr.flush()
    os._exit(status)
