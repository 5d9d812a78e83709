CREATE VIEW v_history AS
SELECT
    id,                             -- order in which it was recorded
    utc,                            -- when it happened
    subject,                        -- 'campaign' or the node
    source,                         -- state before
    event,                          -- what happened
    destination,                    -- state afterwards
    json_extract(facts, '$.reason') AS reason, -- in words, where there is one
    ignored,                        -- why it changed nothing, '' where the table allowed the event
    stage,                          -- from 1; 0: the validation, or before the first
    iteration,                      -- from 1 inside its stage; 0 before the first
    node,                           -- '' where no node brought it
    attempt,                        -- of that node, from 1; 0 without
    job_id,                         -- of HTCondor, '' without
    dag_id,                         -- of the DAGMan job
    host,                           -- where the hook ran
    facts                           -- JSON object: all that was known
FROM history
ORDER BY id;

CREATE VIEW v_iterations AS
SELECT
    stage,                          -- from 1; 0: the validation
    iteration,                      -- from 1 inside its stage
    started_utc,                    -- when its first node began
    ended_utc,                      -- when it was judged, '' before
    CASE WHEN ended_utc != '' THEN round((julianday(ended_utc) - julianday(started_utc)) * 86400, 3) END AS wall_s, -- between the two (s)
    verdict,                        -- '' before
    reason,                         -- of the verdict, in words
    json_extract(metrics, '$.files.used') AS files_used, -- raw files
    json_extract(metrics, '$.files.expected') AS files_expected, -- raw files of the campaign
    json_extract(metrics, '$.tracks.read') AS tracks_read, -- before cuts
    json_extract(metrics, '$.tracks.used') AS tracks_used, -- after cuts
    json_extract(metrics, '$.hits.kept') AS hits_kept, -- after cuts
    json_extract(metrics, '$.residual_max_mm') AS residual_max_mm, -- the cut on residuals (mm)
    json_extract(metrics, '$.chi2_per_ndf') AS chi2_per_ndf, -- of the reconstruction, before hit cuts
    json_extract(metrics, '$.effect_um') AS effect_um, -- by how much the correction still moves residuals, rms (um)
    json_extract(metrics, '$.significance') AS significance, -- expected decrease of chi2 per free parameter
    json_extract(metrics, '$.corrections."module.x".rms') AS module_x_rms_um, -- correction of modules (um)
    json_extract(metrics, '$.corrections."module.x".largest') AS module_x_largest_um, -- with its sign (um)
    json_extract(metrics, '$.corrections."module.y".rms') AS module_y_rms_um, -- correction of modules (um)
    json_extract(metrics, '$.corrections."module.y".largest') AS module_y_largest_um, -- with its sign (um)
    json_extract(metrics, '$.corrections."module.rz".rms') AS module_rz_rms_urad, -- correction of modules (urad)
    json_extract(metrics, '$.corrections."module.rz".largest') AS module_rz_largest_urad, -- with its sign (urad)
    json_extract(metrics, '$.corrections."layer.x".rms') AS layer_x_rms_um, -- correction of layers (um)
    json_extract(metrics, '$.corrections."layer.x".largest') AS layer_x_largest_um, -- with its sign (um)
    json_extract(metrics, '$.corrections."layer.y".rms') AS layer_y_rms_um, -- correction of layers (um)
    json_extract(metrics, '$.corrections."layer.y".largest') AS layer_y_largest_um, -- with its sign (um)
    json_extract(metrics, '$.corrections."layer.rx".rms') AS layer_rx_rms_urad, -- correction of layers (urad)
    json_extract(metrics, '$.corrections."layer.rx".largest') AS layer_rx_largest_urad, -- with its sign (urad)
    json_extract(metrics, '$.corrections."layer.ry".rms') AS layer_ry_rms_urad, -- correction of layers (urad)
    json_extract(metrics, '$.corrections."layer.ry".largest') AS layer_ry_largest_urad, -- with its sign (urad)
    json_extract(metrics, '$.corrections."layer.rz".rms') AS layer_rz_rms_urad, -- correction of layers (urad)
    json_extract(metrics, '$.corrections."layer.rz".largest') AS layer_rz_largest_urad, -- with its sign (urad)
    json_extract(metrics, '$.solver.end_code') AS solver_end_code, -- pede's, or the built-in solver's
    json_extract(metrics, '$.solver.end_text') AS solver_end_text, -- what it means
    json_extract(metrics, '$.constants.start_sha256') AS start_sha256, -- checksum of the constants that it started from
    json_extract(metrics, '$.constants.result_sha256') AS result_sha256, -- checksum of the constants that it found
    json_extract(metrics, '$.constants.changed_by_hand') AS changed_by_hand, -- 1: somebody had changed those it started from
    criteria,                       -- JSON list: what the verdict looked at, with numbers and thresholds
    metrics                         -- JSON object: everything that the Millepede job measured
FROM iterations
ORDER BY stage, iteration;

CREATE VIEW v_nodes AS
SELECT
    n.node AS node,                 -- name in the DAG
    n.kind AS kind,                 -- reco, mille, validate
    n.stage AS stage,               -- from 1; 0: the validation
    n.iteration AS iteration,       -- from 1 inside its stage
    n.file AS file,                 -- number of its raw file, in a campaign of several runs with run * 100000 added; -1 without
    n.state AS state,               -- where it stands
    n.attempts AS attempts,         -- how many were begun
    n.reason AS reason,             -- why it is held, failed or lost; else ''
    a.opened_utc AS opened_utc,     -- when its latest attempt began
    a.closed_utc AS closed_utc,     -- when that ended, '' while it is open
    CASE WHEN a.closed_utc != '' THEN round((julianday(a.closed_utc) - julianday(a.opened_utc)) * 86400, 3) END AS wall_s, -- between the two (s)
    a.job_id AS job_id,             -- of HTCondor
    a.outcome AS outcome,           -- what closed it, '' while it is open
    a.return_value AS return_value, -- what DAGMan said of the job; -1002: it was removed, else negative: killed by that signal
    a.exit_status AS exit_status,   -- what its POST script answered
    a.host AS host                  -- where its hook ran
FROM nodes AS n LEFT JOIN attempts AS a ON a.node = n.node AND a.attempt = n.attempts
ORDER BY n.stage, n.iteration, n.kind DESC, n.file;
