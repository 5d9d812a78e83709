CREATE TABLE campaign (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    name TEXT NOT NULL,
    folder TEXT NOT NULL,           -- control files
    data TEXT NOT NULL,             -- root of the iterations' large files
    run TEXT NOT NULL,              -- six digits
    state TEXT NOT NULL,            -- fsm.table.STATES
    stage INTEGER NOT NULL,         -- where the campaign is, from 1; 0 before its first iteration
    iteration INTEGER NOT NULL,
    stages INTEGER NOT NULL,        -- number of stages
    stages_done INTEGER NOT NULL,   -- stages whose remaining nodes are passed over
    lost_max INTEGER NOT NULL,      -- files that may be lost for good
    lost INTEGER NOT NULL,          -- files that are
    dag_id TEXT NOT NULL,           -- CONDOR_ID of the latest DAGMan, '' before the first
    targets TEXT NOT NULL,          -- JSON: names of who is told
    messages TEXT NOT NULL,         -- JSON: kinds of messages that are wanted
    created_utc TEXT NOT NULL,
    updated_utc TEXT NOT NULL
);
CREATE TABLE nodes (
    node TEXT PRIMARY KEY,
    kind TEXT NOT NULL,             -- reco, mille
    stage INTEGER NOT NULL,
    iteration INTEGER NOT NULL,
    file INTEGER NOT NULL,          -- raw file number, -1 for mille
    state TEXT NOT NULL,            -- fsm.table.NODE_STATES
    attempts INTEGER NOT NULL,
    reason TEXT NOT NULL            -- why it is held, failed or lost; else ''
) WITHOUT ROWID;
CREATE TABLE attempts (
    node TEXT NOT NULL,
    attempt INTEGER NOT NULL,       -- counts over all DAGMans of the campaign, from 1
    dag_id TEXT NOT NULL,
    opened_utc TEXT NOT NULL,
    closed_utc TEXT NOT NULL,       -- '' while it is open
    job_id TEXT NOT NULL,
    outcome TEXT NOT NULL,          -- '' while open, then the node event that closed it, or abandoned
    return_value INTEGER,           -- DAGMan's $RETURN
    exit_status INTEGER,            -- what the POST script answered
    host TEXT NOT NULL,
    PRIMARY KEY (node, attempt)
) WITHOUT ROWID;
CREATE TABLE events (               -- what was taken in already: a repeat finds its row and its answer
    dag_id TEXT NOT NULL,
    node TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    phase TEXT NOT NULL,
    job_id TEXT NOT NULL,
    hold_time TEXT NOT NULL,
    exit_status INTEGER NOT NULL,
    PRIMARY KEY (dag_id, node, attempt, phase, job_id, hold_time)
) WITHOUT ROWID;
CREATE TABLE history (              -- append-only
    id INTEGER PRIMARY KEY,
    utc TEXT NOT NULL,
    subject TEXT NOT NULL,          -- 'campaign' or the node
    source TEXT NOT NULL,
    event TEXT NOT NULL,
    destination TEXT NOT NULL,      -- equal to source where the event was ignored
    ignored TEXT NOT NULL,          -- why, '' where the table allowed the event
    stage INTEGER NOT NULL,
    iteration INTEGER NOT NULL,
    node TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    job_id TEXT NOT NULL,
    dag_id TEXT NOT NULL,
    host TEXT NOT NULL,
    facts TEXT NOT NULL             -- JSON object
);
CREATE TABLE iterations (
    stage INTEGER NOT NULL,
    iteration INTEGER NOT NULL,
    started_utc TEXT NOT NULL,
    ended_utc TEXT NOT NULL,
    verdict TEXT NOT NULL,
    reason TEXT NOT NULL,
    criteria TEXT NOT NULL,         -- JSON list
    metrics TEXT NOT NULL,          -- JSON object, as the Millepede job wrote it
    PRIMARY KEY (stage, iteration)
) WITHOUT ROWID;
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY,
    history_id INTEGER NOT NULL REFERENCES history (id),
    target TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,            -- pending, claimed, sent, failed, unwanted
    tries INTEGER NOT NULL,
    next_utc TEXT NOT NULL,         -- not before
    claimed_utc TEXT NOT NULL,
    sent_utc TEXT NOT NULL,
    error TEXT NOT NULL,
    UNIQUE (history_id, target)
);
CREATE INDEX outbox_open ON outbox (state) WHERE state IN ('pending', 'claimed');
