"""Define the exit statuses of scripts and jobs, and their meanings. Startup-critical: standard library only."""

# Exit statuses of scripts, for DAGMan.
CONVERGED = 42  # ABORT-DAG-ON 42 RETURN 0: the alignment has converged
FATAL = 43  # RETRY n UNLESS-EXIT 43: a retry cannot help
DEFER = 75  # SCRIPT DEFER 75: not yet, run the script again
SKIP = 77  # PRE_SKIP 77: the node is done without a job

DAG_OK = (0, 3)  # $DAG_STATUS: the DAG succeeded, or ABORT-DAG-ON ended it

# Exit statuses of jobs, for POST: status -> (name, fatal, fix).
CONFIG = 60
RAW_MISSING = 61
CONSTANTS = 62
CRASHED = 63
NO_OUTPUT = 64
COPY = 65
CONVERSION = 66
INPUT_MISSING = 67
SOLVER = 68
NO_SPACE = 69
ENVIRONMENT = 70
DATABASE = 71
TOKEN = 72
STATISTICS = 73

JOB_FAILURES = {
    CONFIG: (
        "bad configuration",
        True,
        "correct what the reason names, then resume; to change the configuration itself, submit a new campaign",
    ),
    RAW_MISSING: ("raw file missing or unreadable", True, "put the raw file in place, then resume"),
    CONSTANTS: ("constants missing or malformed", True, "correct the iteration's inputforalign.txt, then resume"),
    CRASHED: ("reconstruction crashed", False, "read the job's log, which the reason names, then resume"),
    NO_OUTPUT: ("no output", False, "read the job's log, which the reason names, then resume"),
    COPY: (
        "output could not be copied",
        False,
        "check that the data folder exists and you may write to it, then resume",
    ),
    CONVERSION: (
        "conversion to Mille failed",
        True,
        "compare the cuts of [mille] with the counts in the reason, then submit a new campaign",
    ),
    INPUT_MISSING: (
        "a file of the reconstruction is missing",
        True,
        "restore the file, then resume; or submit a new campaign",
    ),
    SOLVER: ("no solution", True, "read the iteration's millepede.log and millepede.end"),
    NO_SPACE: ("disk full", False, "free space (AFS or EOS quota, request_disk), then resume"),
    ENVIRONMENT: (
        "environment could not be set up",
        False,
        "check that execute nodes can read the scripts and programs that the reason names, then resume",
    ),
    DATABASE: ("conditions database could not be made", False, "read the job's log, then resume"),
    TOKEN: ("Kerberos ticket or AFS token refused", False, "renew them with kinit and aklog, then resume"),
    STATISTICS: (
        "insufficient statistics",
        True,
        "submit a new campaign with more raw files, fewer free parameters, wider cuts in [mille], or a smaller solver.entries",
    ),
}

# Failures of a Millepede job that end the campaign with an event of their own.
CAMPAIGN_EVENTS = {STATISTICS: "starved"}

# Values of DAGMan's $RETURN that are not the job's own (HTCondor's source, dagman/node.h): as above. Other negative values are signals.
NOT_SUBMITTED, REMOVED, LOG_UNREADABLE, PRE_FAILED = -1001, -1002, -1003, -1004
DAGMAN_FAILURES = {
    NOT_SUBMITTED: (
        "the job could not be submitted",
        False,
        "read the end of alignment.dag.dagman.out, renew an expired Kerberos ticket with kinit, then resume",
    ),
    REMOVED: (
        "the job was removed",
        False,
        "if you did not stop the campaign, find out with `condor_history` who removed it; then resume",
    ),
    LOG_UNREADABLE: (
        "DAGMan could not read the job's event log",
        False,
        "check that the file system of the campaign's folder is mounted and not full, then resume",
    ),
    PRE_FAILED: (
        "the PRE script failed or was skipped",
        False,
        "read hooks.log and scripts.log in the campaign's folder, then resume",
    ),
}


def failure(ret: int | None) -> tuple[str, bool, str] | None:
    """Return (name, fatal, fix) of the status that a job or DAGMan reported; None if it has no name."""
    return None if ret is None else JOB_FAILURES.get(ret) or DAGMAN_FAILURES.get(ret)


def cure(why: str, ret: int | None = None) -> str:
    """Return the fix for a failure with the reason ``why``, which begins with the failure's name, or by its status; else ''."""
    named = (*JOB_FAILURES.values(), *DAGMAN_FAILURES.values())
    known = failure(ret)
    return next((cure for name, _, cure in named if why.startswith(name)), known[2] if known else "")


def verdict_exit(event: str, *, last: bool) -> int:
    """Return POST's exit status after a decision that became the campaign's ``event`` (``table.after_verdict``).

    Only *converged* may end the DAG early; an end without success must fail the DAG, unless no node of it could still
    run: ``last`` says that the stage is the last one.
    """
    if event == "converged":
        return CONVERGED
    if event == "limit":
        return 0 if last else FATAL
    return FATAL if event in ("diverged", "stalled", "starved", "refuted") else 0


def final_exit(dag_status: int) -> int:
    """Return the exit status of FINAL: DAGMan's outcome (``$DAG_STATUS``), because FINAL's own replaces it."""
    return 0 if dag_status in DAG_OK else min(max(dag_status, 1), 7)


def job_exit(ret: int) -> int:
    """Return POST's exit status after a job that returned ``ret``: 0, fatal, or 1 for a failure that a retry may fix.

    The job's own value is never passed on: DAGMan interprets 42, 43 and 77.
    """
    if ret == 0:
        return 0
    failure = JOB_FAILURES.get(ret)
    return FATAL if failure and failure[1] else 1
