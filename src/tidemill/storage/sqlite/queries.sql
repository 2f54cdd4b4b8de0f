-- insert_event: append an event at the position the writer gave it
INSERT INTO events (position, key, digest, received_at, type, source, body) VALUES
-- insert_file: remember an announced file version
INSERT INTO files (source, path, inode, size, mtime_ns, digest) VALUES
-- insert_dead_letter: keep what could not go on; handed in again after a lost answer it is there already
INSERT OR IGNORE INTO dead_letters (id, at, stage, code, detail, origin, coordinates, body, position) VALUES
-- insert_disposition: say what became of an event for a trigger
INSERT INTO dispositions (position, trigger, kind, run_id, detail) VALUES
-- insert_run: create a queued run
INSERT INTO runs (number, run_id, dag, version, state, trigger, position, event_source, event_id, parameters, queued_at, correlation_id, hop_count, traceparent, shard) VALUES
-- insert_history: append decisions of runs
INSERT INTO history (run, sequence, at, body) VALUES
-- insert_delivery: put an event on its way to a subscription
INSERT INTO deliveries (subscription, position, state, attempts, due_at, detail) VALUES
-- upsert_cursor: move a cursor that the writer has compared
INSERT INTO cursors (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;
-- update_run: change a run's summary
UPDATE runs SET state = ?, started_at = coalesce(?, started_at), ended_at = ? WHERE number = ?;
-- update_delivery: record the outcome of a delivery attempt
UPDATE deliveries SET state = ?, attempts = ?, due_at = ?, detail = ? WHERE position = ? AND subscription = ?;
-- insert_request: ask the engine to steer a run
INSERT INTO requests (run_id, kind, at, by) VALUES (?, ?, ?, ?);
-- delete_request: forget an answered request
DELETE FROM requests WHERE id = ?;
-- insert_version: keep the source of a DAG's version
INSERT INTO versions (dag, version, file, source, graph) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING;
-- set_meta: remember a fact about the database
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;
-- meta: facts about the database
SELECT name, value FROM meta;
-- head: position of the newest event
SELECT coalesce(max(position), 0) FROM events;
-- last_run_number: the highest number given to a run
SELECT coalesce(max(number), 0) FROM runs;
-- all_cursors: every cursor
SELECT name, value FROM cursors;
-- known_events: which of these identities are in the log; the list of keys follows
SELECT key, position, digest FROM events WHERE key IN
-- known_files: is this file version in the ledger
SELECT 1 FROM files WHERE source = ? AND path = ? AND inode = ? AND size = ? AND mtime_ns = ?;
-- run_numbers: short names of these runs; the list of ids follows
SELECT run_id, number FROM runs WHERE run_id IN
-- read_events: events after a position, oldest first
SELECT position, received_at, body FROM events WHERE position > ? ORDER BY position LIMIT ?;
-- event_at: the event at a position
SELECT position, received_at, body FROM events WHERE position = ?;
-- event_by_key: the event with an identity
SELECT position, received_at, body FROM events WHERE key = ?;
-- list_events: events newest first; conditions replace the marker
SELECT position, received_at, body FROM events WHERE position < ?1 {conditions} ORDER BY position DESC LIMIT ?2;
-- files_of: file versions announced by a source
SELECT source, path, inode, size, mtime_ns, digest FROM files WHERE source = ?;
-- run: the summary of a run
SELECT run_id, dag, version, state, trigger, position, event_source, event_id, parameters, queued_at, started_at, ended_at, correlation_id, hop_count, traceparent, shard FROM runs WHERE run_id = ?;
-- list_runs: runs newest first; conditions replace the marker
SELECT run_id, dag, version, state, trigger, position, event_source, event_id, parameters, queued_at, started_at, ended_at, correlation_id, hop_count, traceparent, shard FROM runs WHERE run_id < ?1 {conditions} ORDER BY run_id DESC LIMIT ?2;
-- live_runs: runs that started and did not end, by id
SELECT run_id, dag, version, state, trigger, position, event_source, event_id, parameters, queued_at, started_at, ended_at, correlation_id, hop_count, traceparent, shard FROM runs WHERE ended_at IS NULL AND state IN ('running', 'waiting') AND run_id > ?1 AND (?3 IS NULL OR shard IN (SELECT value FROM json_each(?3))) ORDER BY run_id LIMIT ?2;
-- queued_runs: runs of a DAG that wait to start, oldest first
SELECT run_id, dag, version, state, trigger, position, event_source, event_id, parameters, queued_at, started_at, ended_at, correlation_id, hop_count, traceparent, shard FROM runs WHERE ended_at IS NULL AND state = 'queued' AND dag = ?1 AND run_id > ?2 AND (?4 IS NULL OR shard IN (SELECT value FROM json_each(?4))) ORDER BY run_id LIMIT ?3;
-- history_of: the decisions of a run in order
SELECT sequence, at, body FROM history WHERE run = (SELECT number FROM runs WHERE run_id = ?) ORDER BY sequence;
-- dispositions_of: what became of an event
SELECT position, trigger, kind, run_id, detail FROM dispositions WHERE position = ? ORDER BY trigger;
-- open_requests: requests that wait for the engine
SELECT id, run_id, kind, at, by FROM requests WHERE ?1 IS NULL OR EXISTS (SELECT 1 FROM runs WHERE runs.run_id = requests.run_id AND shard IN (SELECT value FROM json_each(?1))) ORDER BY id;
-- version: the kept source of a DAG's version
SELECT file, source, graph FROM versions WHERE dag = ? AND version = ?;
-- run_counts: number of runs per DAG and state
SELECT dag, state, count(*) FROM runs GROUP BY dag, state;
-- queued_dags: DAGs that have runs waiting to start
SELECT DISTINCT dag FROM runs WHERE ended_at IS NULL AND state = 'queued' AND (?1 IS NULL OR shard IN (SELECT value FROM json_each(?1)));
-- due_deliveries: pending deliveries of a subscription by position
SELECT subscription, position, attempts, due_at FROM deliveries WHERE subscription = ? AND position > ? AND state = 'pending' ORDER BY position LIMIT ?;
-- deliveries_of: every delivery of an event
SELECT subscription, state, attempts, detail FROM deliveries WHERE position = ? ORDER BY subscription;
-- list_dead_letters: dead letters newest first, long bodies cut; conditions replace the marker
SELECT id, at, stage, code, detail, origin, coordinates, substr(body, 1, 4096), position FROM dead_letters WHERE id < ?1 {conditions} ORDER BY id DESC LIMIT ?2;
-- dead_letter: one dead letter, whole
SELECT id, at, stage, code, detail, origin, coordinates, body, position FROM dead_letters WHERE id = ?;
