"""The program that DAGMan calls: ``python -I -S run.py pre|post|hold|final CAMPAIGN MACROS...``.

It is the one file of a hook that has no compiled copy, so that it only finds the package and begins.
Without site-packages a hook starts in a tenth of the time; whoever needs them calls ``config.libraries.site_packages``.
"""

import os
import sys

if __name__ == "__main__":
    os.umask(os.umask(0o022) | 0o022)  # a campaign's files are their owner's to write, whatever the umask of a shell
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from faser_align.hooks import node

    status = node.main(sys.argv[1:])
    # Nothing is left to be done: freeing every object one by one would take longer than the hook.
    sys.stderr.flush()
    os._exit(status)
