-- insert_event: append an event at the position the writer gave it
INSERT INTO events (position, key, digest, received_at, type, source, body) SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bigint[], $5::text[], $6::text[], $7::bytea[]);
-- insert_file: remember an announced file version; another node may have announced it just now
INSERT INTO files (source, path, inode, size, mtime_ns, digest) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[]) ON CONFLICT DO NOTHING;
-- insert_dead_letter: keep what could not go on; handed in again after a lost answer it is there already
INSERT INTO dead_letters (id, at, stage, code, detail, origin, coordinates, body, position) SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bytea[], $9::bigint[]) ON CONFLICT DO NOTHING;
-- insert_disposition: say what became of an event for a trigger
INSERT INTO dispositions (position, trigger, kind, run_id, detail) SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[]);
-- insert_run: create a queued run
INSERT INTO runs (number, run_id, dag, version, state, trigger, position, event_source, event_id, parameters, queued_at, correlation_id, hop_count, traceparent, shard) SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::text[], $10::bytea[], $11::bigint[], $12::text[], $13::bigint[], $14::text[], $15::bigint[]);
-- insert_history: append decisions of runs
INSERT INTO history (run, sequence, at, body) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[]);
-- insert_delivery: put an event on its way to a subscription
INSERT INTO deliveries (subscription, position, state, attempts, due_at, detail) SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::text[]);
-- read_events: events after a position, oldest first
SELECT position, received_at, body FROM events WHERE position > $1 ORDER BY position LIMIT $2;
-- event_at: the event at a position
SELECT position, received_at, body FROM events WHERE position = $1;
-- event_by_key: the event with an identity
SELECT position, received_at, body FROM events WHERE key = $1;
-- list_events: events newest first; conditions replace the marker
SELECT position, received_at, body FROM events WHERE position < $1 {conditions} ORDER BY position DESC LIMIT $2;
-- files_of: file versions announced by a source
SELECT source, path, inode, size, mtime_ns, digest FROM files WHERE source = $1;
-- run: the summary of a run
SELECT run_id, dag, version, state, trigger, position, event_source, event_id, parameters, queued_at, started_at, ended_at, correlation_id, hop_count, traceparent, shard FROM runs WHERE run_id = $1;
-- list_runs: runs newest first; conditions replace the marker
SELECT run_id, dag, version, state, trigger, position, event_source, event_id, parameters, queued_at, started_at, ended_at, correlation_id, hop_count, traceparent, shard FROM runs WHERE run_id < $1 {conditions} ORDER BY run_id DESC LIMIT $2;
-- live_runs: runs that started and did not end, by id
SELECT run_id, dag, version, state, trigger, position, event_source, event_id, parameters, queued_at, started_at, ended_at, correlation_id, hop_count, traceparent, shard FROM runs WHERE ended_at IS NULL AND state IN ('running', 'waiting') AND run_id > $1 AND ($3::bigint[] IS NULL OR shard = ANY($3::bigint[])) ORDER BY run_id LIMIT $2;
-- queued_runs: runs of a DAG that wait to start, oldest first
SELECT run_id, dag, version, state, trigger, position, event_source, event_id, parameters, queued_at, started_at, ended_at, correlation_id, hop_count, traceparent, shard FROM runs WHERE ended_at IS NULL AND state = 'queued' AND dag = $1 AND run_id > $2 AND ($4::bigint[] IS NULL OR shard = ANY($4::bigint[])) ORDER BY run_id LIMIT $3;
-- history_of: the decisions of a run in order
SELECT sequence, at, body FROM history WHERE run = (SELECT number FROM runs WHERE run_id = $1) ORDER BY sequence;
-- dispositions_of: what became of an event
SELECT position, trigger, kind, run_id, detail FROM dispositions WHERE position = $1 ORDER BY trigger;
-- open_requests: requests that wait for the engine
SELECT id, run_id, kind, at, by FROM requests WHERE $1::bigint[] IS NULL OR EXISTS (SELECT FROM runs WHERE runs.run_id = requests.run_id AND shard = ANY($1::bigint[])) ORDER BY id;
-- version: the kept source of a DAG's version
SELECT file, source, graph FROM versions WHERE dag = $1 AND version = $2;
-- run_counts: number of runs per DAG and state
SELECT dag, state, count(*) FROM runs GROUP BY dag, state;
-- queued_dags: DAGs that have runs waiting to start
SELECT DISTINCT dag FROM runs WHERE ended_at IS NULL AND state = 'queued' AND ($1::bigint[] IS NULL OR shard = ANY($1::bigint[]));
-- due_deliveries: pending deliveries of a subscription by position
SELECT subscription, position, attempts, due_at FROM deliveries WHERE subscription = $1 AND position > $2 AND state = 'pending' ORDER BY position LIMIT $3;
-- deliveries_of: every delivery of an event
SELECT subscription, state, attempts, detail FROM deliveries WHERE position = $1 ORDER BY subscription;
-- list_dead_letters: dead letters newest first, long bodies cut; conditions replace the marker
SELECT id, at, stage, code, detail, origin, coordinates, substring(body FROM 1 FOR 4096), position FROM dead_letters WHERE id < $1 {conditions} ORDER BY id DESC LIMIT $2;
-- dead_letter: one dead letter, whole
SELECT id, at, stage, code, detail, origin, coordinates, body, position FROM dead_letters WHERE id = $1;
-- update_run: change summaries of runs
UPDATE runs SET state = u.state, started_at = coalesce(u.started_at, runs.started_at), ended_at = u.ended_at FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) AS u (state, started_at, ended_at, number) WHERE runs.number = u.number;
-- update_delivery: record the outcome of delivery attempts
UPDATE deliveries SET state = u.state, attempts = u.attempts, due_at = u.due_at, detail = u.detail FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::text[]) AS u (state, attempts, due_at, detail, position, subscription) WHERE deliveries.position = u.position AND deliveries.subscription = u.subscription;
-- insert_request: ask the engine to steer runs
INSERT INTO requests (run_id, kind, at, by) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[]);
-- delete_request: forget answered requests
DELETE FROM requests WHERE id = ANY($1::bigint[]);
-- insert_version: keep the sources of DAGs' versions
INSERT INTO versions (dag, version, file, source, graph) SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[]) ON CONFLICT DO NOTHING;
-- insert_cursor: a cursor that did not exist
INSERT INTO cursors (name, value) SELECT * FROM unnest($1::text[], $2::text[]);
-- update_cursor: move cursors that were locked and compared
UPDATE cursors SET value = u.value FROM unnest($1::text[], $2::text[]) AS u (name, value) WHERE cursors.name = u.name;
-- lock_cursors: the cursors that jobs compare, so that nobody else moves them until commit
SELECT name, value FROM cursors WHERE name = ANY($1::text[]) ORDER BY name FOR UPDATE;
-- lock_head: the position of the newest event, so that nobody else appends until commit
SELECT value FROM tickets WHERE name = 'events' FOR UPDATE;
-- set_head: the position of the newest event
UPDATE tickets SET value = $1 WHERE name = 'events';
-- known_events: which of these identities are in the log
SELECT key, position, digest FROM events WHERE key = ANY($1::bytea[]);
-- known_files: which of these file versions are in the ledger
SELECT files.source, files.path, files.inode, files.size, files.mtime_ns FROM files JOIN unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[]) AS u (source, path, inode, size, mtime_ns) USING (source, path, inode, size, mtime_ns);
-- run_numbers: short names of these runs
SELECT run_id, number FROM runs WHERE run_id = ANY($1::text[]);
-- new_numbers: short names for new runs
SELECT nextval('run_numbers') FROM generate_series(1, $1);
-- notify: tell the other nodes what was committed
SELECT pg_notify('tidemill', $1);
-- state_of_log: where the log ends and how far it is routed
SELECT (SELECT value FROM tickets WHERE name = 'events'), (SELECT value FROM cursors WHERE name = 'router');
-- pending_deliveries: the newest pending delivery of each subscription
SELECT subscription, max(position) FROM deliveries WHERE state = 'pending' GROUP BY subscription;
-- cursor: the value of a cursor
SELECT value FROM cursors WHERE name = $1;
-- cursors: cursors whose names start so
SELECT name, value FROM cursors WHERE starts_with(name, $1);
-- project: the project whose state this is
SELECT value FROM meta WHERE name = 'project';
-- set_project: the project whose state this is from now on
INSERT INTO meta (name, value) VALUES ('project', $1) ON CONFLICT DO NOTHING;
-- upsert_node: tell that a node is there; whether it was not before
INSERT INTO nodes (node, url, draining, load, session, session_start) VALUES ($1, $2, $3, $4, $5, (SELECT backend_start FROM pg_stat_activity WHERE pid = $5)) ON CONFLICT (node) DO UPDATE SET url = excluded.url, draining = excluded.draining, load = excluded.load, session = excluded.session, session_start = excluded.session_start, seen_at = clock_timestamp() RETURNING (xmax = 0);
-- nodes: every node, whether its session is there, and the seconds since it was last seen
SELECT node, session, draining, EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.pid = nodes.session AND a.backend_start = nodes.session_start), extract(epoch FROM clock_timestamp() - seen_at)::float8 FROM nodes;
-- end_session: end the session of a node that is silent
SELECT pg_terminate_backend(a.pid, 2000) FROM pg_stat_activity AS a JOIN nodes ON a.pid = nodes.session AND a.backend_start = nodes.session_start WHERE nodes.node = $1 AND nodes.session = $2;
-- delete_silent_node: forget a node that is gone
DELETE FROM nodes WHERE node = $1 AND session = $2;
-- delete_node: forget a node
DELETE FROM nodes WHERE node = $1;
-- locked_shards: shards that somebody owns
SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND classid = $1 AND objsubid = 2 AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
-- lock_shards: own shards by the session that asks
SELECT shard, pg_try_advisory_lock($1::int, shard) FROM unnest($2::int[]) AS shard;
-- unlock_shards: give shards back
SELECT pg_advisory_unlock($1::int, shard) FROM unnest($2::int[]) AS shard;
-- raise_epochs: shards that were just taken begin a new epoch
UPDATE shards SET epoch = epoch + 1, node = $2 WHERE shard = ANY($1::int[]) RETURNING shard, epoch;
-- node_views: every node with the number of shards that it owns
SELECT node, url, (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1 AND objsubid = 2 AND pid = nodes.session), draining, extract(epoch FROM clock_timestamp() - seen_at)::float8, load FROM nodes ORDER BY node;
-- session: whether the session is there
SELECT 1;
