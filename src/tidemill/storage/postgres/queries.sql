-- insert_event: append an event at the position the writer gave it
INSERT INTO events (position, key, digest, received_at, type, source, body) SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bigint[], $5::text[], $6::text[], $7::bytea[]);
-- insert_file: remember an announced file version; another node may have announced it just now
INSERT INTO files (source, path, inode, size, mtime_ns, digest) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[]) ON CONFLICT DO NOTHING;
-- insert_dead_letter: keep what could not go on; handed in again after a lost answer it is there already
INSERT INTO dead_letters (id, at, stage, code, detail, origin, coordinates, body, position) SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bytea[], $9::bigint[]) ON CONFLICT DO NOTHING;
-- insert_disposition: say what became of an event for a trigger
INSERT INTO dispositions (position, trigger, kind, run_id, detail) SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[]);
-- insert_run: create a queued run
INSERT INTO runs (number, run_id, dag, version, state, trigger, position, event_source, event_id, parameters, queued_at, correlation_id, hop_count, traceparent, shard, admission) SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::text[], $10::bytea[], $11::bigint[], $12::text[], $13::bigint[], $14::text[], $15::bigint[], $16::text[]);
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
-- live_runs: runs that are at work, by id; those that only wait are woken by their waits
SELECT run_id, dag, version, state, trigger, position, event_source, event_id, parameters, queued_at, started_at, ended_at, correlation_id, hop_count, traceparent, shard FROM runs WHERE ended_at IS NULL AND state = 'running' AND run_id > $1 AND ($3::bigint[] IS NULL OR shard = ANY($3::bigint[])) ORDER BY run_id LIMIT $2;
-- queued_runs: runs of a DAG that wait to start, oldest first
SELECT run_id, dag, version, state, trigger, position, event_source, event_id, parameters, queued_at, started_at, ended_at, correlation_id, hop_count, traceparent, shard FROM runs WHERE ended_at IS NULL AND state = 'queued' AND dag = $1 AND run_id > $2 AND ($4::bigint[] IS NULL OR shard = ANY($4::bigint[])) ORDER BY run_id LIMIT $3;
-- history_of: the decisions of a run in order
SELECT sequence, at, body FROM history WHERE run = (SELECT number FROM runs WHERE run_id = $1) ORDER BY sequence;
-- histories_of: the decisions of several runs, those of each in order
SELECT runs.run_id, sequence, at, body FROM runs JOIN history ON history.run = runs.number WHERE runs.run_id = ANY($1::text[]) ORDER BY history.run, sequence;
-- dispositions_of: what became of an event
SELECT position, trigger, kind, run_id, detail FROM dispositions WHERE position = $1 ORDER BY trigger;
-- open_requests: requests that wait for the engine
SELECT id, run_id, kind, at, by FROM requests WHERE $1::bigint[] IS NULL OR EXISTS (SELECT FROM runs WHERE runs.run_id = requests.run_id AND shard = ANY($1::bigint[])) ORDER BY id;
-- version: the kept source of a DAG's version
SELECT file, source, graph FROM versions WHERE dag = $1 AND version = $2;
-- run_counts: number of runs per DAG and state
SELECT dag, state, count(*) FROM runs GROUP BY dag, state;
-- open_counts: number of runs per shard and state that have not ended
SELECT shard, state, count(*) FROM runs WHERE ended_at IS NULL AND ($1::bigint[] IS NULL OR shard = ANY($1::bigint[])) GROUP BY shard, state;
-- queued_dags: DAGs that have runs waiting to start
SELECT DISTINCT dag FROM runs WHERE ended_at IS NULL AND state = 'queued' AND ($1::bigint[] IS NULL OR shard = ANY($1::bigint[]));
-- due_deliveries: pending deliveries of a subscription by position
SELECT subscription, position, attempts, due_at, letter FROM deliveries WHERE subscription = $1 AND position > $2 AND state = 'pending' ORDER BY position LIMIT $3;
-- deliveries_of: every delivery of an event
SELECT subscription, state, attempts, detail FROM deliveries WHERE position = $1 ORDER BY subscription;
-- list_dead_letters: dead letters newest first, long bodies cut; conditions replace the marker
SELECT id, at, stage, code, detail, origin, coordinates, substring(body FROM 1 FOR 4096), position, state FROM dead_letters WHERE id < $1 {conditions} ORDER BY id DESC LIMIT $2;
-- dead_letter: one dead letter, whole
SELECT id, at, stage, code, detail, origin, coordinates, body, position, state FROM dead_letters WHERE id = $1;
-- update_run: change summaries of runs
UPDATE runs SET state = u.state, started_at = coalesce(u.started_at, runs.started_at), ended_at = u.ended_at FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) AS u (state, started_at, ended_at, number) WHERE runs.number = u.number;
-- update_delivery: record the outcome of delivery attempts; one that ended stays so, whoever was late to hear of it
UPDATE deliveries SET state = u.state, attempts = u.attempts, due_at = u.due_at, detail = u.detail FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::text[]) AS u (state, attempts, due_at, detail, position, subscription) WHERE deliveries.position = u.position AND deliveries.subscription = u.subscription AND deliveries.state = 'pending';
-- insert_request: ask the engine to steer runs
INSERT INTO requests (run_id, kind, at, by) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[]);
-- delete_request: forget answered requests
DELETE FROM requests WHERE id = ANY($1::bigint[]);
-- insert_version: keep the sources of DAGs' versions
INSERT INTO versions (dag, version, file, source, graph, modules, saved_at) SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bytea[], $7::bigint[]) ON CONFLICT DO NOTHING;
-- insert_module: keep the texts of modules that versions are made of
INSERT INTO module_texts (digest, text) SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT DO NOTHING;
-- modules_of: the modules that a version is made of
SELECT modules FROM versions WHERE dag = $1 AND version = $2;
-- module_texts: the texts of modules
SELECT digest, text FROM module_texts WHERE digest = ANY($1::text[]);
-- versions_of: the kept versions of a DAG, newest first
SELECT version, file, saved_at FROM versions WHERE dag = $1 ORDER BY saved_at DESC, version;
-- move_run: runs go on with another version of their DAG
UPDATE runs SET version = u.version FROM unnest($1::text[], $2::bigint[]) AS u (version, number) WHERE runs.number = u.number;
-- move_queued: runs that have not begun will begin with another version of their DAG
UPDATE runs SET version = u.version FROM unnest($1::text[], $2::text[]) AS u (version, run_id) WHERE runs.run_id = u.run_id AND runs.state = 'queued';
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
-- known_events: which of these identities are in the log, or were in it and still count
SELECT key, position, digest FROM events WHERE key = ANY($1::bytea[]) UNION ALL SELECT key, position, digest FROM identities WHERE key = ANY($1::bytea[]);
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
-- pending_deliveries: the newest pending delivery of each of these subscriptions, by one look at the index for each
SELECT s, (SELECT position FROM deliveries WHERE subscription = s AND state = 'pending' ORDER BY position DESC LIMIT 1) FROM unnest($1::text[]) AS s;
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
-- hand_over_shards: nobody works on these shards any more; whoever had them has not died
UPDATE shards SET node = '' WHERE shard = ANY($1::int[]);
-- raise_epochs: shards that were just taken begin a new epoch; whether their last owner gave them back
UPDATE shards SET epoch = shards.epoch + 1, node = $2 FROM (SELECT shard, node FROM shards WHERE shard = ANY($1::int[])) AS former WHERE shards.shard = former.shard RETURNING shards.shard, shards.epoch, former.node = '';
-- node_views: every node with the number of shards that it owns
SELECT node, url, (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1 AND objsubid = 2 AND pid = nodes.session), draining, extract(epoch FROM clock_timestamp() - seen_at)::float8, load FROM nodes ORDER BY node;
-- session: whether the session is there
SELECT 1;
-- insert_definitions: keep what the project's folders said
INSERT INTO definitions (version, saved_at, written) SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[]) ON CONFLICT DO NOTHING;
-- insert_routed_under: from where on events are routed under a version
INSERT INTO routed_under (position, version, at) SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[]) ON CONFLICT (position) DO UPDATE SET version = excluded.version, at = excluded.at;
-- definitions: what the project's folders said
SELECT written FROM definitions WHERE version = $1;
-- routed_under: versions of events before a position, newest first
SELECT position, version, at FROM routed_under WHERE position < $1 ORDER BY position DESC LIMIT $2;
-- remember_identities: identities of events that are about to be dropped and still count
INSERT INTO identities (key, digest, position, received_at) SELECT key, digest, position, received_at FROM events JOIN unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS u (first, last, since, above) ON position BETWEEN u.first AND u.last AND (received_at >= u.since OR position >= u.above) ON CONFLICT DO NOTHING;
-- drop_events: drop segments of the log
DELETE FROM events USING unnest($1::bigint[], $2::bigint[]) AS u (first, last) WHERE position BETWEEN u.first AND u.last;
-- drop_dispositions: drop what became of segments of the log
DELETE FROM dispositions USING unnest($1::bigint[], $2::bigint[]) AS u (first, last) WHERE position BETWEEN u.first AND u.last;
-- drop_deliveries: drop the deliveries of segments of the log
DELETE FROM deliveries USING unnest($1::bigint[], $2::bigint[]) AS u (first, last) WHERE u.first <= u.last AND position <= u.last AND state <> 'pending';
-- undelivered: deliveries of events of a segment that are not done with
SELECT subscription, position, attempts FROM deliveries WHERE state = 'pending' AND position BETWEEN $1 AND $2 ORDER BY position, subscription;
-- drop_cursor: forget cursors that nobody moves any more
DELETE FROM cursors USING unnest($1::text[], $2::text[]) AS u (name, value) WHERE cursors.name = u.name AND cursors.value = u.value;
-- drop_routed_under: forget versions that no event in the log was routed under
DELETE FROM routed_under WHERE 1 = ANY($1::bigint[]) AND position < (SELECT max(position) FROM routed_under WHERE position < (SELECT min(position) FROM events));
-- drop_definitions: forget what the folders said when no event in the log was routed under it
DELETE FROM definitions WHERE 1 = ANY($1::bigint[]) AND version NOT IN (SELECT version FROM routed_under);
-- drop_identities: forget identities whose dedupe window has passed
DELETE FROM identities USING unnest($1::bigint[], $2::bigint[]) AS u (before, below) WHERE received_at < u.before AND position < u.below;
-- drop_dead_letters: forget dead letters as old as the log
DELETE FROM dead_letters USING unnest($1::bigint[]) AS u (before) WHERE at < u.before;
-- drop_history: drop the decisions of runs
DELETE FROM history WHERE run = ANY($1::bigint[]);
-- drop_runs: drop runs
DELETE FROM runs WHERE number = ANY($1::bigint[]);
-- extent: the oldest event
SELECT position, received_at FROM events ORDER BY position LIMIT 1;
-- segment: the last event and the bytes of a segment
SELECT max(position), max(received_at), sum(length(body))::bigint, count(*) FROM events WHERE position BETWEEN $1 AND $2;
-- log_bytes: bytes of the events after a position
SELECT coalesce(sum(length(body)), 0)::bigint FROM events WHERE position > $1 AND position <= $2;
-- first_pending: the oldest event that is still to be delivered
SELECT min(position) FROM deliveries WHERE state = 'pending';
-- first_open: the oldest event whose run has not ended
SELECT min(position) FROM runs WHERE ended_at IS NULL;
-- runs_by_number: runs in the order in which they were made
SELECT number, position, ended_at, run_id FROM runs WHERE number > $1 ORDER BY number LIMIT $2;
-- became: what became of the events of a segment, and what was started
SELECT d.position, d.trigger, d.kind, d.run_id, d.detail, runs.dag, runs.parameters FROM dispositions AS d LEFT JOIN runs ON runs.run_id = d.run_id WHERE d.position BETWEEN $1 AND $2 ORDER BY d.position, d.trigger;
-- set_letter_state: where dead letters stand
UPDATE dead_letters SET state = u.state FROM unnest($1::text[], $2::text[]) AS u (state, id) WHERE dead_letters.id = u.id;
-- insert_letter_action: what somebody did with a dead letter; two at once cannot have the same number
INSERT INTO dead_letter_actions (letter, number, at, by, kind, reason, detail, body) SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bytea[]);
-- letter_actions: what was done with a dead letter, in order
SELECT letter, number, at, by, kind, reason, detail, body FROM dead_letter_actions WHERE letter = $1 ORDER BY number;
-- redeliver: put what a dead letter holds on its way to the subscription again
INSERT INTO deliveries (subscription, position, state, attempts, due_at, detail, letter) SELECT subscription, position, 'pending', 0, due_at, '', letter FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[]) AS u (subscription, position, due_at, letter) ON CONFLICT (position, subscription) DO UPDATE SET state = 'pending', attempts = 0, due_at = excluded.due_at, detail = '', letter = excluded.letter;
-- cancel_deliveries: nobody wants what is pending for a subscription any more
UPDATE deliveries SET state = 'cancelled', detail = u.detail FROM unnest($1::text[], $2::text[]) AS u (detail, subscription) WHERE deliveries.subscription = u.subscription AND deliveries.state = 'pending';
-- insert_subscription: a change of a subscription made by API
INSERT INTO subscriptions (position, id, body) SELECT * FROM unnest($1::bigint[], $2::text[], $3::bytea[]);
-- subscriptions_at: subscriptions made by API as they are at a position
SELECT id, position, body FROM subscriptions AS s WHERE body IS NOT NULL AND position = (SELECT max(position) FROM subscriptions WHERE id = s.id AND position <= $1) ORDER BY id;
-- subscription: a subscription made by API as it is now
SELECT id, position, body FROM subscriptions WHERE id = $1 ORDER BY position DESC LIMIT 1;
-- prune_subscriptions: changes that no event which is still to be routed is matched by
DELETE FROM subscriptions AS s WHERE 1 = ANY($1::bigint[]) AND position < (SELECT coalesce(max(value::bigint), 0) FROM cursors WHERE name = 'router') AND (body IS NULL OR EXISTS (SELECT FROM subscriptions AS n WHERE n.id = s.id AND n.position > s.position AND n.position <= (SELECT value::bigint FROM cursors WHERE name = 'router')));
-- forget_subscription_state: the states of subscriptions that were deleted
DELETE FROM subscription_states WHERE subscription = ANY($1::text[]);
-- forget_attempts: the attempts of subscriptions that were deleted
DELETE FROM delivery_attempts WHERE subscription = ANY($1::text[]);
-- subscription_versions: rises whenever a subscription or its state changes
SELECT coalesce((SELECT max(position) FROM subscriptions), 0), coalesce((SELECT sum(version) FROM subscription_states), 0)::bigint;
-- subscription_states: whether subscriptions deliver
SELECT subscription, state, reason, by, at, redriven FROM subscription_states;
-- set_subscription_state: say whether a subscription delivers
INSERT INTO subscription_states AS s (subscription, state, reason, by, at, redriven, version) SELECT subscription, state, reason, by, at, 0, 1 FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[]) AS u (subscription, state, reason, by, at) ON CONFLICT (subscription) DO UPDATE SET state = excluded.state, reason = excluded.reason, by = excluded.by, at = excluded.at, version = s.version + 1;
-- touch_subscription: an earlier delivery of a subscription is pending again
INSERT INTO subscription_states AS s (subscription, state, reason, by, at, redriven, version) SELECT subscription, 'active', '', '', at, 1, 1 FROM unnest($1::text[], $2::bigint[]) AS u (subscription, at) ON CONFLICT (subscription) DO UPDATE SET redriven = s.redriven + 1, version = s.version + 1;
-- put_attempt: remember a delivery attempt in the place of an old one
INSERT INTO delivery_attempts (subscription, slot, number, position, attempt, at, duration_us, outcome, status, error) SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[], $9::bigint[], $10::text[]) ON CONFLICT (subscription, slot) DO UPDATE SET number = excluded.number, position = excluded.position, attempt = excluded.attempt, at = excluded.at, duration_us = excluded.duration_us, outcome = excluded.outcome, status = excluded.status, error = excluded.error;
-- attempts_of: the latest delivery attempts of a subscription
SELECT subscription, number, position, attempt, at, duration_us, outcome, status, error FROM delivery_attempts WHERE subscription = $1 AND number < $2 ORDER BY number DESC LIMIT $3;
-- newest_attempt: the number of the latest delivery attempt of a subscription
SELECT coalesce(max(number), 0) FROM delivery_attempts WHERE subscription = $1;
-- backlog_of: pending deliveries of a subscription up to a number, the oldest, and the newest that was accepted
SELECT (SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE subscription = $1 AND state = 'pending' LIMIT $2) AS few), (SELECT position FROM deliveries WHERE subscription = $1 AND state = 'pending' ORDER BY position LIMIT 1), (SELECT max(position) FROM delivery_attempts WHERE subscription = $1 AND outcome = 'delivered');
-- insert_tree_run: runs belong to trees whose end somebody waits for
INSERT INTO tree_runs (correlation_id, run_id, done) SELECT correlation_id, run_id, 0 FROM unnest($1::text[], $2::text[]) AS u (correlation_id, run_id) ON CONFLICT DO NOTHING;
-- end_tree_run: the completion events of runs were routed
INSERT INTO tree_runs (correlation_id, run_id, done) SELECT correlation_id, run_id, 1 FROM unnest($1::text[], $2::text[]) AS u (correlation_id, run_id) ON CONFLICT (correlation_id, run_id) DO UPDATE SET done = 1;
-- delete_tree: trees have ended and were told of
DELETE FROM tree_runs WHERE correlation_id = ANY($1::text[]);
-- seed_trees: runs that are open when somebody begins to wait for trees
INSERT INTO tree_runs (correlation_id, run_id, done) SELECT correlation_id, run_id, 0 FROM runs WHERE ended_at IS NULL AND 1 = ANY($1::bigint[]) ON CONFLICT DO NOTHING;
-- settle_trees: runs that ended while nobody waited for trees
UPDATE tree_runs SET done = 1 WHERE done = 0 AND 1 = ANY($1::bigint[]) AND NOT EXISTS (SELECT FROM runs WHERE runs.run_id = tree_runs.run_id AND ended_at IS NULL);
-- ended_trees: trees of which every known run has ended and been routed
SELECT correlation_id FROM tree_runs GROUP BY correlation_id HAVING min(done) = 1;
-- tree_is_open: whether a tree has a run that has not ended or whose end was not routed
SELECT 1 FROM tree_runs WHERE correlation_id = $1 AND done = 0 LIMIT 1;
-- tree: what became of a tree's runs
SELECT runs.state, count(*), min(runs.position), max(runs.hop_count), min(runs.queued_at), max(runs.ended_at) FROM tree_runs JOIN runs ON runs.run_id = tree_runs.run_id WHERE tree_runs.correlation_id = $1 GROUP BY runs.state;
-- put_held: hold events in stages of triggers' admission
INSERT INTO held_events (position, trigger, stage, key, body) SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bytea[]) ON CONFLICT (position, trigger) DO UPDATE SET stage = excluded.stage, key = excluded.key, body = excluded.body;
-- delete_held: events are not held any more
DELETE FROM held_events USING unnest($1::bigint[], $2::text[]) AS u (position, trigger) WHERE held_events.position = u.position AND held_events.trigger = u.trigger;
-- put_memory: what stages of admission know of keys
INSERT INTO admission_memory (trigger, stage, key, until, body) SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[]) ON CONFLICT (trigger, stage, key) DO UPDATE SET until = excluded.until, body = excluded.body;
-- forget_memory: forget what means nothing any more
DELETE FROM admission_memory USING unnest($1::bigint[]) AS u (before) WHERE until < u.before;
-- held: held events by place
SELECT position, trigger, stage, key, body FROM held_events WHERE (position, trigger) > ($1, $2) ORDER BY position, trigger LIMIT $3;
-- first_held: the oldest event that waits in admission
SELECT min(position) FROM held_events;
-- held_at: where an event is held
SELECT position, trigger, stage, key, body FROM held_events WHERE position = $1 ORDER BY trigger;
-- held_counts: number of held events per trigger and stage
SELECT trigger, stage, count(*) FROM held_events GROUP BY trigger, stage;
-- memory: what stages of admission know of keys
SELECT trigger, stage, key, until, body FROM admission_memory ORDER BY until DESC LIMIT $1;
-- memory_of: what stages of admission know of these keys
SELECT trigger, stage, key, until, body FROM admission_memory WHERE (trigger, stage, key) IN (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_array_elements($1::json) AS u (value));
-- admitted_runs: runs that hold keys of admission and have not ended, by id
SELECT run_id, trigger, admission FROM runs WHERE ended_at IS NULL AND admission IS NOT NULL AND run_id > $1 ORDER BY run_id LIMIT $2;
-- events_at: the events at these positions
SELECT position, received_at, body FROM events WHERE position = ANY($1::bigint[]) ORDER BY position;
-- put_duration: how long tasks take, as known now; what was learned later stays
INSERT INTO task_durations AS t (dag, task, at, body) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[]) ON CONFLICT (dag, task) DO UPDATE SET at = excluded.at, body = excluded.body WHERE excluded.at >= t.at;
-- forget_durations: forget tasks that have not run for long
DELETE FROM task_durations USING unnest($1::bigint[]) AS u (before) WHERE at < u.before;
-- durations_of: how long the tasks of a DAG take
SELECT dag, task, at, body FROM task_durations WHERE dag = $1;
-- durations_since: how long tasks take that were learned at or after a time, the latest first
SELECT dag, task, at, body FROM task_durations WHERE at >= $1 ORDER BY at DESC LIMIT $2;
-- history_after: the decisions of a run after one of them
SELECT sequence, at, body FROM history WHERE run = (SELECT number FROM runs WHERE run_id = $1) AND sequence > $2 ORDER BY sequence LIMIT $3;
-- put_cached: results that may be used again
INSERT INTO task_cache (key, dag, task, run_id, at, result) SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bytea[]) ON CONFLICT (key) DO UPDATE SET dag = excluded.dag, task = excluded.task, run_id = excluded.run_id, at = excluded.at, result = excluded.result;
-- cached: what there is of these keys
SELECT key, dag, task, run_id, at, result FROM task_cache WHERE key = ANY($1::text[]);
-- list_cached: results that may be used again, newest first; conditions replace the marker
SELECT key, dag, task, run_id, at, length(result) FROM task_cache WHERE (at, key) < ($1, $2) {conditions} ORDER BY at DESC, key DESC LIMIT $3;
-- count_cached: how many results fulfil conditions
SELECT count(*) FROM task_cache WHERE ($1::text = '' OR dag = $1) AND ($2::text = '' OR task = $2) AND ($3::text = '' OR key = $3) AND at < $4::bigint;
-- clear_cached: forget results that fulfil conditions
DELETE FROM task_cache USING unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS u (dag, task, key, before) WHERE (u.dag = '' OR task_cache.dag = u.dag) AND (u.task = '' OR task_cache.task = u.task) AND (u.key = '' OR task_cache.key = u.key) AND at < u.before;
-- drop_cached: forget results of runs that are dropped
DELETE FROM task_cache WHERE run_id = ANY($1::text[]);
-- prune_cached: forget old results
DELETE FROM task_cache USING unnest($1::bigint[]) AS u (before) WHERE at < u.before;
-- put_hold: runs refer to results that are kept with others
INSERT INTO result_holds (held, run_id) SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT DO NOTHING;
-- drop_holds: runs that are dropped hold nothing any more
DELETE FROM result_holds WHERE run_id = ANY($1::text[]);
-- holds: which runs hold results of these, and whether those are there themselves
SELECT held, run_id, EXISTS (SELECT FROM runs WHERE runs.run_id = result_holds.held) FROM result_holds WHERE held = ANY($1::text[]);
-- held_by: the runs whose results these hold
SELECT DISTINCT held FROM result_holds WHERE run_id = ANY($1::text[]);
-- put_quarantined: runs were failed because they may kill the process
INSERT INTO quarantined (run_id, at) SELECT * FROM unnest($1::text[], $2::bigint[]) ON CONFLICT DO NOTHING;
-- drop_quarantined: nobody needs to look at runs any more
DELETE FROM quarantined WHERE run_id = ANY($1::text[]);
-- put_pool: set the slots of pools
INSERT INTO pools (name, slots, by, at) SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[]) ON CONFLICT (name) DO UPDATE SET slots = excluded.slots, by = excluded.by, at = excluded.at;
-- drop_pool: what the settings say of these pools holds again
DELETE FROM pools WHERE name = ANY($1::text[]);
-- pools: limits of pools that were set
SELECT name, slots, by, at FROM pools ORDER BY name;
-- put_past: what tasks came to that depend on the past
INSERT INTO past_outcomes (dag, task, run_id, state) SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) ON CONFLICT (dag, task, run_id) DO UPDATE SET state = excluded.state;
-- prune_past: nobody looks further back than to the few last places of a task
DELETE FROM past_outcomes AS p USING unnest($1::text[], $2::text[], $3::text[]) AS u (dag, task, run_id) WHERE p.dag = u.dag AND p.task = u.task AND p.run_id < (SELECT o.run_id FROM past_outcomes AS o WHERE o.dag = u.dag AND o.task = u.task AND o.run_id <= u.run_id ORDER BY o.run_id DESC LIMIT 1 OFFSET 50);
-- past_outcomes: what the tasks of one place came to
SELECT task, state FROM past_outcomes WHERE dag = $1 AND run_id = $2;
-- run_before: the run of a DAG before a place, runs that were made again left out
SELECT run_id FROM runs WHERE dag = $1 AND trigger <> 'retry' AND number < (SELECT number FROM runs WHERE run_id = $2) ORDER BY number DESC LIMIT 1;
-- put_wait: waits that begin
INSERT INTO waits (run_id, task, kind, shard, due_at, pattern, key, since, routed, from_at) SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::bigint[], $9::bigint[], $10::bigint[]);
-- delete_wait: waits have ended
DELETE FROM waits USING unnest($1::text[], $2::text[]) AS u (run_id, task) WHERE waits.run_id = u.run_id AND waits.task = u.task;
-- delete_waits: runs have ended, and all their waits with them
DELETE FROM waits WHERE run_id = ANY($1::text[]);
-- insert_wait_pattern: what versions of DAGs wait for
INSERT INTO wait_patterns (pattern, body) SELECT * FROM unnest($1::text[], $2::bytea[]) ON CONFLICT DO NOTHING;
-- wait_patterns: everything that was ever waited for
SELECT pattern, body FROM wait_patterns;
-- awaited_patterns: patterns that somebody waits for
SELECT DISTINCT pattern FROM waits WHERE pattern IS NOT NULL;
-- drop_wait_pattern: nobody waits for them, or will
DELETE FROM wait_patterns WHERE pattern = ANY($1::text[]);
-- waited_for: which of these keys somebody waits for
SELECT k.key FROM unnest($1::text[]) AS k (key) WHERE EXISTS (SELECT FROM waits WHERE waits.key = k.key);
-- insert_hit: events that some wait may have waited for
INSERT INTO wait_hits (key, position) SELECT * FROM unnest($1::text[], $2::bigint[]) ON CONFLICT DO NOTHING;
-- hit_waits: waits whose event is there, the earlier event of a wait first
SELECT w.run_id, w.task, h.position FROM wait_hits AS h JOIN waits AS w ON w.key = h.key AND w.since < h.position WHERE w.since >= w.routed AND ($2::bigint[] IS NULL OR shard = ANY($2::bigint[])) ORDER BY h.key, h.position LIMIT $1;
-- forget_hits: forget events that no wait can wait for
DELETE FROM wait_hits WHERE $1::bigint[] IS NOT NULL AND NOT EXISTS (SELECT FROM waits WHERE waits.key = wait_hits.key AND waits.since < wait_hits.position);
-- unread_waits: waits for which a part of the log has to be read
SELECT run_id, task, pattern, key, since, routed, from_at FROM waits WHERE since < routed AND ($2::bigint[] IS NULL OR shard = ANY($2::bigint[])) LIMIT $1;
-- have_read_waits: the log was read for waits
UPDATE waits SET since = u.routed FROM unnest($1::text[], $2::text[], $3::bigint[]) AS u (run_id, task, routed) WHERE waits.run_id = u.run_id AND waits.task = u.task;
-- first_due_wait: when the time of the first wait is up
SELECT due_at FROM waits WHERE due_at IS NOT NULL AND due_at > $1 AND ($2::bigint[] IS NULL OR shard = ANY($2::bigint[])) ORDER BY due_at LIMIT 1;
-- due_waits: waits whose time is up, a page
SELECT run_id, task, kind, due_at FROM waits WHERE due_at IS NOT NULL AND due_at <= $1 AND (due_at, run_id, task) > ($2::bigint, $3::text, $4::text) AND ($6::bigint[] IS NULL OR shard = ANY($6::bigint[])) ORDER BY due_at, run_id, task LIMIT $5;
-- wait_counts: number of waits by kind
SELECT kind, count(*) FROM waits WHERE ($1::bigint[] IS NULL OR shard = ANY($1::bigint[])) GROUP BY kind;
-- parked_runs: those of these runs that only wait
SELECT run_id, dag, version, state, trigger, position, event_source, event_id, parameters, queued_at, started_at, ended_at, correlation_id, hop_count, traceparent, shard FROM runs WHERE run_id = ANY($1::text[]) AND ended_at IS NULL AND state = 'waiting';
-- parked_count: number of runs that only wait
SELECT count(*) FROM runs WHERE ended_at IS NULL AND state = 'waiting' AND ($1::bigint[] IS NULL OR shard = ANY($1::bigint[]));
-- parked_count_of: number of runs of a DAG that only wait
SELECT count(*) FROM runs WHERE ended_at IS NULL AND state = 'waiting' AND dag = $1 AND ($2::bigint[] IS NULL OR shard = ANY($2::bigint[]));
-- insert_approval: people are asked
INSERT INTO approvals (id, run_id, dag, task, state, title, form, assignees, quorum, asked_at, due_at, ended_at) SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::text[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[]);
-- cancel_approvals: nobody needs to be asked any more
UPDATE approvals SET state = 'cancelled', ended_at = u.at FROM unnest($1::bigint[], $2::text[]) AS u (at, run_id) WHERE approvals.run_id = u.run_id AND state = 'open';
-- drop_approvals: what people were asked by runs that are dropped
DELETE FROM approvals WHERE run_id = ANY($1::text[]);
-- insert_approval_decision: somebody decides, while it is open and for the first time; who comes second waits for the first
INSERT INTO approval_decisions (approval, by, decision, at, via, data) SELECT u.approval, u.by, u.decision, u.at, u.via, u.data FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bytea[]) AS u (approval, by, decision, at, via, data) JOIN approvals ON approvals.id = u.approval WHERE approvals.state = 'open' FOR UPDATE OF approvals ON CONFLICT DO NOTHING;
-- settle_approval: an approval ends when somebody rejected or enough approved
UPDATE approvals SET state = CASE WHEN EXISTS (SELECT FROM approval_decisions WHERE approval = approvals.id AND decision = 'reject') THEN 'rejected' ELSE 'approved' END, ended_at = u.at FROM unnest($1::text[], $2::bigint[]) AS u (id, at) WHERE approvals.id = u.id AND state = 'open' AND (EXISTS (SELECT FROM approval_decisions WHERE approval = approvals.id AND decision = 'reject') OR (SELECT count(*) FROM approval_decisions WHERE approval = approvals.id AND decision = 'approve') >= quorum);
-- time_out_approval: the time of approvals is up
UPDATE approvals SET state = 'timed_out', ended_at = u.at FROM unnest($1::text[], $2::text[], $3::bigint[]) AS u (run_id, task, at) WHERE approvals.run_id = u.run_id AND approvals.task = u.task AND state = 'open';
-- request_time_out: tell the engine that the time of approvals is up
INSERT INTO requests (run_id, kind, at, by) SELECT approvals.run_id, 'approval', u.at, 'time' FROM unnest($1::text[], $2::text[], $3::bigint[]) AS u (run_id, task, at) JOIN approvals ON approvals.run_id = u.run_id AND approvals.task = u.task WHERE state = 'timed_out' AND ended_at = u.at;
-- request_approval: tell the engine that approvals have just ended
INSERT INTO requests (run_id, kind, at, by) SELECT approvals.run_id, 'approval', u.at, u.by FROM unnest($1::text[], $2::bigint[], $3::text[]) AS u (id, at, by) JOIN approvals ON approvals.id = u.id WHERE state <> 'open' AND ended_at = u.at;
-- approval: what people were asked
SELECT id, run_id, dag, task, state, title, form, assignees, quorum, asked_at, due_at, ended_at FROM approvals WHERE id = $1;
-- list_approvals: approvals newest first; conditions replace the marker
SELECT id, run_id, dag, task, state, title, form, assignees, quorum, asked_at, due_at, ended_at FROM approvals WHERE id < $1 {conditions} ORDER BY id DESC LIMIT $2;
-- approval_decisions: what was said, in order
SELECT by, decision, at, via, data FROM approval_decisions WHERE approval = $1 ORDER BY at, by;
-- approval_decision: what one person said
SELECT by, decision, at, via, data FROM approval_decisions WHERE approval = $1 AND by = $2;
-- insert_meta: remember facts about the database, once
INSERT INTO meta (name, value) SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT DO NOTHING;
-- meta_of: a fact about the database
SELECT value FROM meta WHERE name = $1;
