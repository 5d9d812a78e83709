"""Start a pool's daemons and exit: ``python -I -m faser_align.pool.launch FOLDER PROCESSORS [--credentials]``.

This is a separate program, because PersonalPool ties the pool to the process that starts it: it stops the pool at exit,
changes CONDOR_CONFIG, and leaves condor_master in the terminal's session, where Ctrl-C and a closed window reach it.
``faser_align.pool.personal`` runs this in a new session and reads the exit status: 0 means ready to accept jobs.
"""

import sys
from pathlib import Path

CREDENTIALS = "--credentials"


def settings(processors: int) -> dict[str, str]:
    """Return HTCondor's settings for a pool of one machine whose jobs may last only a second.

    All daemons listen on loopback only. The intervals are at most 1 s, because their defaults (20 s, 60 s, 300 s) would
    dominate a campaign of short nodes.
    """
    return {
        "NUM_CPUS": str(processors),
        "CONDOR_HOST": "127.0.0.1",
        "NETWORK_INTERFACE": "127.0.0.1",
        "BIND_ALL_INTERFACES": "False",
        # Otherwise bindings newer than the daemons are refused on loopback ("Directory name doesn't match ...").
        "SEC_FS_ENFORCE_CHANNEL_BINDING": "False",
        "DAGMAN_USER_LOG_SCAN_INTERVAL": "1",
        "NEGOTIATOR_INTERVAL": "1",
        "NEGOTIATOR_CYCLE_DELAY": "0",
        "NEGOTIATOR_MIN_INTERVAL": "0",
        "SCHEDD_INTERVAL": "1",
        "SCHEDD_MIN_INTERVAL": "0",
        # Queries of so small a queue cost less than the processes that would answer them, several per second.
        "COLLECTOR_QUERY_WORKERS": "0",
        "SCHEDD_QUERY_WORKERS": "0",
        # Otherwise each start of the startd runs Java and three Python programs that no job here needs, for half a second.
        "ENABLE_URL_TRANSFERS": "False",
        "JAVA": "",
        "PERIODIC_EXPR_INTERVAL": "1",  # delay before a held job is released
        # The machine goes down with its schedd: restart a lost job after one minute instead of 40.
        "JOB_DEFAULT_LEASE_DURATION": "60",
        # HTCondor 25 otherwise waits 5 min before it restarts a DAGMan, even one that was on hold.
        "SCHEDULER_UNIVERSE_COOL_DOWN_DURATION": "10",
    }


def main(folder: str, processors: str, *options: str) -> None:
    """Start the pool in ``folder`` and return when it is ready; PersonalPool raises errors."""
    import htcondor2
    from htcondor2.personal import PersonalPool

    config = settings(int(processors))
    if CREDENTIALS in options:
        from faser_align.pool import credentials

        credentials.prepare(Path(folder), htcondor2.param["SHADOW"])
        config |= credentials.settings(Path(folder))
    PersonalPool(local_dir=Path(folder), config=config, detach=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
