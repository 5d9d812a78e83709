"""Exit statuses of hooks and jobs, with their meaning (standard library only: hooks load this)."""

# What hooks say to DAGMan.
CONVERGED = 42  # ABORT-DAG-ON 42 RETURN 0: the constants stand still
FATAL = 43  # RETRY n UNLESS-EXIT 43: trying again cannot help
DEFER = 75  # SCRIPT DEFER 75: not yet, ask again
SKIP = 77  # PRE_SKIP 77: the node is done without a job

DAG_OK = (0, 3)  # $DAG_STATUS: the DAG succeeded, or ABORT-DAG-ON ended it

# What jobs say to their hooks: status -> (name, fatal, cure).
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
        "put right what it names, then resume; to change the configuration itself, submit anew",
    ),
    RAW_MISSING: ("raw file missing or unreadable", True, "put the raw file in place, then resume"),
    CONSTANTS: ("constants missing or malformed", True, "correct inputforalign.txt of the iteration, then resume"),
    CRASHED: ("reconstruction crashed", False, "read the job's log, which the reason names, then resume"),
    NO_OUTPUT: ("no output", False, "read the job's log, which the reason names, then resume"),
    COPY: ("output could not be copied", False, "see that the data folder is there and yours to write, then resume"),
    CONVERSION: (
        "conversion to Mille failed",
        True,
        "compare the cuts of [mille] with what the reason counts; then submit anew",
    ),
    INPUT_MISSING: (
        "a file of the reconstruction is missing",
        True,
        "put the file back, then resume; or submit a new campaign",
    ),
    SOLVER: ("no solution", True, "read millepede.log and millepede.end of the iteration"),
    NO_SPACE: ("disk full", False, "make room (quota of AFS or EOS, request_disk), then resume"),
    ENVIRONMENT: (
        "environment could not be set up",
        False,
        "see that the scripts and programs it names can be read on execute nodes, then resume",
    ),
    DATABASE: ("conditions database could not be made", False, "read the job's log, then resume"),
    TOKEN: ("Kerberos ticket or AFS token refused", False, "renew it with kinit and aklog, then resume"),
    STATISTICS: (
        "insufficient statistics",
        True,
        "submit a new campaign with more raw files, fewer free parameters, wider cuts in [mille], or a smaller solver.entries",
    ),
}

# Failures of a Millepede job that end the campaign by an event of their own.
CAMPAIGN_EVENTS = {STATISTICS: "starved"}

# Values of DAGMan's $RETURN that are not the job's own (HTCondor's source, dagman/node.h): as above. Other negative values are signals.
NOT_SUBMITTED, REMOVED, LOG_UNREADABLE, PRE_FAILED = -1001, -1002, -1003, -1004
DAGMAN_FAILURES = {
    NOT_SUBMITTED: (
        "the job could not be submitted",
        False,
        "read the end of alignment.dag.dagman.out, renew an expired Kerberos ticket with kinit, then resume",
    ),
    REMOVED: ("the job was removed", False, "ask `condor_history` who removed it, then resume"),
    LOG_UNREADABLE: (
        "DAGMan could not read the job's event log",
        False,
        "see that the disk of the campaign's folder is there and not full, then resume",
    ),
    PRE_FAILED: (
        "the PRE script failed or was skipped",
        False,
        "read hooks.log and scripts.log in the campaign's folder, then resume",
    ),
}


def failure(ret: int | None) -> tuple[str, bool, str] | None:
    """Return (name, fatal, fix) of what a job or DAGMan reported, or None for a status without a name."""
    return None if ret is None else JOB_FAILURES.get(ret) or DAGMAN_FAILURES.get(ret)


def cure(why: str) -> str:
    """Return the fix for a failure with the reason ``why``, which begins with the failure's name; else ''."""
    named = (*JOB_FAILURES.values(), *DAGMAN_FAILURES.values())
    return next((cure for name, _, cure in named if why.startswith(name)), "")


def verdict_exit(event: str, *, last: bool) -> int:
    """Exit status of a POST script whose verdict became the campaign's ``event`` (``table.after_verdict``).

    Only *converged* may end the DAG early; an end without success must fail the DAG, unless nothing is left of it that
    could run: ``last`` says that the stage is the last one.
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
    """Exit status of POST after a job that returned ``ret``: 0, fatal, or 1 for what may be tried again.

    The job's own value is never passed on as it is: 42, 43 and 77 mean something to DAGMan.
    """
    if ret == 0:
        return 0
    failure = JOB_FAILURES.get(ret)
    return FATAL if failure and failure[1] else 1
