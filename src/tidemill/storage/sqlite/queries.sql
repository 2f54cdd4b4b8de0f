-- insert_event: append an event at the position the writer gave it
INSERT INTO events (position, key, digest, received_at, type, source, body) VALUES
-- insert_file: remember an announced file version
INSERT INTO files (source, path, inode, size, mtime_ns, digest) VALUES
-- insert_dead_letter: keep what could not go on; handed in again after a lost answer it is there already
INSERT OR IGNORE INTO dead_letters (id, at, stage, code, detail, origin, coordinates, body, position) VALUES
-- insert_disposition: say what became of an event for a trigger
INSERT INTO dispositions (position, trigger, kind, run_id, detail) VALUES
-- insert_run: create a queued run
INSERT INTO runs (number, run_id, dag, version, state, trigger, position, event_source, event_id, parameters, queued_at, correlation_id, hop_count, traceparent, shard, admission) VALUES
-- insert_history: append decisions of runs
INSERT INTO history (run, sequence, at, body) VALUES
-- insert_delivery: put an event on its way to a subscription
INSERT INTO deliveries (subscription, position, state, attempts, due_at, detail) VALUES
-- upsert_cursor: move a cursor that the writer has compared
INSERT INTO cursors (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;
-- update_run: change a run's summary
UPDATE runs SET state = ?, started_at = coalesce(?, started_at), ended_at = ? WHERE number = ?;
-- update_delivery: record the outcome of delivery attempts; one that ended stays so, whoever was late to hear of it
UPDATE deliveries SET state = ?, attempts = ?, due_at = ?, detail = ? WHERE position = ? AND subscription = ? AND state = 'pending';
-- insert_request: ask the engine to steer a run
INSERT INTO requests (run_id, kind, at, by) VALUES (?, ?, ?, ?);
-- delete_request: forget an answered request
DELETE FROM requests WHERE id = ?;
-- insert_version: keep the source of a DAG's version
INSERT INTO versions (dag, version, file, source, graph, modules, saved_at) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING;
-- insert_module: keep the text of a module that versions are made of
INSERT INTO module_texts (digest, text) VALUES (?, ?) ON CONFLICT DO NOTHING;
-- modules_of: the modules that a version is made of
SELECT modules FROM versions WHERE dag = ? AND version = ?;
-- module_texts: the texts of modules
SELECT digest, text FROM module_texts WHERE digest IN (SELECT value FROM json_each(?));
-- versions_of: the kept versions of a DAG, newest first
SELECT version, file, saved_at FROM versions WHERE dag = ? ORDER BY saved_at DESC, version;
-- move_run: a run goes on with another version of its DAG
UPDATE runs SET version = ? WHERE number = ?;
-- move_queued: a run that has not begun will begin with another version of its DAG
UPDATE runs SET version = ? WHERE run_id = ? AND state = 'queued';
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
-- live_runs: runs that are at work, by id; those that only wait are woken by their waits
SELECT run_id, dag, version, state, trigger, position, event_source, event_id, parameters, queued_at, started_at, ended_at, correlation_id, hop_count, traceparent, shard FROM runs WHERE ended_at IS NULL AND state = 'running' AND run_id > ?1 AND (?3 IS NULL OR shard IN (SELECT value FROM json_each(?3))) ORDER BY run_id LIMIT ?2;
-- queued_runs: runs of a DAG that wait to start, oldest first
SELECT run_id, dag, version, state, trigger, position, event_source, event_id, parameters, queued_at, started_at, ended_at, correlation_id, hop_count, traceparent, shard FROM runs WHERE ended_at IS NULL AND state = 'queued' AND dag = ?1 AND run_id > ?2 AND (?4 IS NULL OR shard IN (SELECT value FROM json_each(?4))) ORDER BY run_id LIMIT ?3;
-- history_of: the decisions of a run in order
SELECT sequence, at, body FROM history WHERE run = (SELECT number FROM runs WHERE run_id = ?) ORDER BY sequence;
-- histories_of: the decisions of several runs, those of each in order
SELECT runs.run_id, sequence, at, body FROM runs JOIN history ON history.run = runs.number WHERE runs.run_id IN (SELECT value FROM json_each(?1)) ORDER BY history.run, sequence;
-- dispositions_of: what became of an event
SELECT position, trigger, kind, run_id, detail FROM dispositions WHERE position = ? ORDER BY trigger;
-- open_requests: requests that wait for the engine
SELECT id, run_id, kind, at, by FROM requests WHERE ?1 IS NULL OR EXISTS (SELECT 1 FROM runs WHERE runs.run_id = requests.run_id AND shard IN (SELECT value FROM json_each(?1))) ORDER BY id;
-- version: the kept source of a DAG's version
SELECT file, source, graph FROM versions WHERE dag = ? AND version = ?;
-- run_counts: number of runs per DAG and state
SELECT dag, state, count(*) FROM runs GROUP BY dag, state;
-- open_counts: number of runs per shard and state that have not ended
SELECT shard, state, count(*) FROM runs WHERE ended_at IS NULL AND (?1 IS NULL OR shard IN (SELECT value FROM json_each(?1))) GROUP BY shard, state;
-- queued_dags: DAGs that have runs waiting to start
SELECT DISTINCT dag FROM runs WHERE ended_at IS NULL AND state = 'queued' AND (?1 IS NULL OR shard IN (SELECT value FROM json_each(?1)));
-- due_deliveries: pending deliveries of a subscription by position
SELECT subscription, position, attempts, due_at, letter FROM deliveries WHERE subscription = ? AND position > ? AND state = 'pending' ORDER BY position LIMIT ?;
-- deliveries_of: every delivery of an event
SELECT subscription, state, attempts, detail FROM deliveries WHERE position = ? ORDER BY subscription;
-- list_dead_letters: dead letters newest first, long bodies cut; conditions replace the marker
SELECT id, at, stage, code, detail, origin, coordinates, substr(body, 1, 4096), position, state FROM dead_letters WHERE id < ?1 {conditions} ORDER BY id DESC LIMIT ?2;
-- dead_letter: one dead letter, whole
SELECT id, at, stage, code, detail, origin, coordinates, body, position, state FROM dead_letters WHERE id = ?;
-- insert_definitions: keep what the project's folders said
INSERT INTO definitions (version, saved_at, written) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;
-- insert_routed_under: from where on events are routed under a version
INSERT INTO routed_under (position, version, at) VALUES (?, ?, ?) ON CONFLICT (position) DO UPDATE SET version = excluded.version, at = excluded.at;
-- definitions: what the project's folders said
SELECT written FROM definitions WHERE version = ?;
-- routed_under: versions of events before a position, newest first
SELECT position, version, at FROM routed_under WHERE position < ? ORDER BY position DESC LIMIT ?;
-- known_identities: which of these identities were in the log and still count; the list of keys follows
SELECT key, position, digest FROM identities WHERE key IN
-- remember_identities: identities of events that are about to be dropped and still count
INSERT OR IGNORE INTO identities (key, digest, position, received_at) SELECT key, digest, position, received_at FROM events WHERE position BETWEEN ?1 AND ?2 AND (received_at >= ?3 OR position >= ?4);
-- drop_events: drop a segment of the log
DELETE FROM events WHERE position BETWEEN ? AND ?;
-- drop_dispositions: drop what became of a segment of the log
DELETE FROM dispositions WHERE position BETWEEN ? AND ?;
-- drop_deliveries: drop the deliveries of a segment of the log
DELETE FROM deliveries WHERE ?1 <= ?2 AND position <= ?2 AND state <> 'pending';
-- undelivered: deliveries of events of a segment that are not done with
SELECT subscription, position, attempts FROM deliveries WHERE state = 'pending' AND position BETWEEN ?1 AND ?2 ORDER BY position, subscription;
-- drop_cursor: forget a cursor that nobody moves any more
DELETE FROM cursors WHERE name = ? AND value = ?;
-- drop_routed_under: forget versions that no event in the log was routed under
DELETE FROM routed_under WHERE ? AND position < (SELECT max(position) FROM routed_under WHERE position < (SELECT min(position) FROM events));
-- drop_definitions: forget what the folders said when no event in the log was routed under it
DELETE FROM definitions WHERE ? AND version NOT IN (SELECT version FROM routed_under);
-- drop_identities: forget identities whose dedupe window has passed
DELETE FROM identities WHERE received_at < ? AND position < ?;
-- drop_dead_letters: forget dead letters as old as the log
DELETE FROM dead_letters WHERE at < ?;
-- drop_history: drop the decisions of runs
DELETE FROM history WHERE run = ?;
-- drop_runs: drop runs
DELETE FROM runs WHERE number = ?;
-- extent: the oldest event
SELECT position, received_at FROM events ORDER BY position LIMIT 1;
-- segment: the last event and the bytes of a segment
SELECT max(position), max(received_at), sum(length(body)), count(*) FROM events WHERE position BETWEEN ? AND ?;
-- log_bytes: bytes of the events after a position
SELECT coalesce(sum(length(body)), 0) FROM events WHERE position > ? AND position <= ?;
-- first_pending: the oldest event that is still to be delivered
SELECT min(position) FROM deliveries WHERE state = 'pending';
-- first_open: the oldest event whose run has not ended
SELECT min(position) FROM runs WHERE ended_at IS NULL;
-- runs_by_number: runs in the order in which they were made
SELECT number, position, ended_at, run_id FROM runs WHERE number > ? ORDER BY number LIMIT ?;
-- became: what became of the events of a segment, and what was started
SELECT d.position, d.trigger, d.kind, d.run_id, d.detail, runs.dag, runs.parameters FROM dispositions AS d LEFT JOIN runs ON runs.run_id = d.run_id WHERE d.position BETWEEN ? AND ? ORDER BY d.position, d.trigger;
-- set_letter_state: where a dead letter stands
UPDATE dead_letters SET state = ? WHERE id = ?;
-- insert_letter_action: what somebody did with a dead letter; two at once cannot have the same number
INSERT INTO dead_letter_actions (letter, number, at, by, kind, reason, detail, body) VALUES
-- letter_actions: what was done with a dead letter, in order
SELECT letter, number, at, by, kind, reason, detail, body FROM dead_letter_actions WHERE letter = ? ORDER BY number;
-- redeliver: put what a dead letter holds on its way to the subscription again
INSERT INTO deliveries (subscription, position, state, attempts, due_at, detail, letter) VALUES (?, ?, 'pending', 0, ?, '', ?) ON CONFLICT (position, subscription) DO UPDATE SET state = 'pending', attempts = 0, due_at = excluded.due_at, detail = '', letter = excluded.letter;
-- cancel_deliveries: nobody wants what is pending for a subscription any more
UPDATE deliveries SET state = 'cancelled', detail = ? WHERE subscription = ? AND state = 'pending';
-- insert_subscription: a change of a subscription made by API
INSERT INTO subscriptions (position, id, body) VALUES
-- subscriptions_at: subscriptions made by API as they are at a position
SELECT id, position, body FROM subscriptions AS s WHERE body IS NOT NULL AND position = (SELECT max(position) FROM subscriptions WHERE id = s.id AND position <= ?1) ORDER BY id;
-- subscription: a subscription made by API as it is now
SELECT id, position, body FROM subscriptions WHERE id = ?1 ORDER BY position DESC LIMIT 1;
-- prune_subscriptions: changes that no event which is still to be routed is matched by
DELETE FROM subscriptions WHERE ?1 AND position < (SELECT coalesce(max(CAST(value AS INTEGER)), 0) FROM cursors WHERE name = 'router') AND (body IS NULL OR EXISTS (SELECT 1 FROM subscriptions AS n WHERE n.id = subscriptions.id AND n.position > subscriptions.position AND n.position <= (SELECT CAST(value AS INTEGER) FROM cursors WHERE name = 'router')));
-- forget_subscription_state: the state of a subscription that was deleted
DELETE FROM subscription_states WHERE subscription = ?;
-- forget_attempts: the attempts of a subscription that was deleted
DELETE FROM delivery_attempts WHERE subscription = ?;
-- subscription_versions: rises whenever a subscription or its state changes
SELECT coalesce((SELECT max(position) FROM subscriptions), 0), coalesce((SELECT sum(version) FROM subscription_states), 0);
-- subscription_states: whether subscriptions deliver
SELECT subscription, state, reason, by, at, redriven FROM subscription_states;
-- set_subscription_state: say whether a subscription delivers
INSERT INTO subscription_states (subscription, state, reason, by, at, redriven, version) VALUES (?, ?, ?, ?, ?, 0, 1) ON CONFLICT (subscription) DO UPDATE SET state = excluded.state, reason = excluded.reason, by = excluded.by, at = excluded.at, version = version + 1;
-- touch_subscription: an earlier delivery of a subscription is pending again
INSERT INTO subscription_states (subscription, state, reason, by, at, redriven, version) VALUES (?, 'active', '', '', ?, 1, 1) ON CONFLICT (subscription) DO UPDATE SET redriven = redriven + 1, version = version + 1;
-- put_attempt: remember a delivery attempt in the place of an old one
INSERT INTO delivery_attempts (subscription, slot, number, position, attempt, at, duration_us, outcome, status, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (subscription, slot) DO UPDATE SET number = excluded.number, position = excluded.position, attempt = excluded.attempt, at = excluded.at, duration_us = excluded.duration_us, outcome = excluded.outcome, status = excluded.status, error = excluded.error;
-- attempts_of: the latest delivery attempts of a subscription
SELECT subscription, number, position, attempt, at, duration_us, outcome, status, error FROM delivery_attempts WHERE subscription = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3;
-- newest_attempt: the number of the latest delivery attempt of a subscription
SELECT coalesce(max(number), 0) FROM delivery_attempts WHERE subscription = ?;
-- backlog_of: pending deliveries of a subscription up to a number, the oldest, and the newest that was accepted
SELECT (SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE subscription = ?1 AND state = 'pending' LIMIT ?2)), (SELECT position FROM deliveries WHERE subscription = ?1 AND state = 'pending' ORDER BY position LIMIT 1), (SELECT max(position) FROM delivery_attempts WHERE subscription = ?1 AND outcome = 'delivered');
-- insert_tree_run: a run belongs to a tree whose end somebody waits for
INSERT INTO tree_runs (correlation_id, run_id, done) VALUES (?, ?, 0) ON CONFLICT DO NOTHING;
-- end_tree_run: the completion event of a run was routed
INSERT INTO tree_runs (correlation_id, run_id, done) VALUES (?, ?, 1) ON CONFLICT (correlation_id, run_id) DO UPDATE SET done = 1;
-- delete_tree: a tree has ended and was told of
DELETE FROM tree_runs WHERE correlation_id = ?;
-- seed_trees: runs that are open when somebody begins to wait for trees
INSERT INTO tree_runs (correlation_id, run_id, done) SELECT correlation_id, run_id, 0 FROM runs WHERE ended_at IS NULL AND ? ON CONFLICT DO NOTHING;
-- settle_trees: runs that ended while nobody waited for trees
UPDATE tree_runs SET done = 1 WHERE done = 0 AND ? AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.run_id = tree_runs.run_id AND ended_at IS NULL);
-- ended_trees: trees of which every known run has ended and been routed
SELECT correlation_id FROM tree_runs GROUP BY correlation_id HAVING min(done) = 1;
-- tree_is_open: whether a tree has a run that has not ended or whose end was not routed
SELECT 1 FROM tree_runs WHERE correlation_id = ? AND done = 0 LIMIT 1;
-- tree: what became of a tree's runs
SELECT runs.state, count(*), min(runs.position), max(runs.hop_count), min(runs.queued_at), max(runs.ended_at) FROM tree_runs JOIN runs ON runs.run_id = tree_runs.run_id WHERE tree_runs.correlation_id = ? GROUP BY runs.state;
-- put_held: hold an event in a stage of a trigger's admission
INSERT OR REPLACE INTO held_events (position, trigger, stage, key, body) VALUES
-- delete_held: an event is not held any more
DELETE FROM held_events WHERE position = ? AND trigger = ?;
-- put_memory: what a stage of admission knows of a key
INSERT OR REPLACE INTO admission_memory (trigger, stage, key, until, body) VALUES
-- forget_memory: forget what means nothing any more
DELETE FROM admission_memory WHERE until < ?;
-- held: held events by place
SELECT position, trigger, stage, key, body FROM held_events WHERE (position, trigger) > (?1, ?2) ORDER BY position, trigger LIMIT ?3;
-- first_held: the oldest event that waits in admission
SELECT min(position) FROM held_events;
-- held_at: where an event is held
SELECT position, trigger, stage, key, body FROM held_events WHERE position = ? ORDER BY trigger;
-- held_counts: number of held events per trigger and stage
SELECT trigger, stage, count(*) FROM held_events GROUP BY trigger, stage;
-- memory: what stages of admission know of keys
SELECT trigger, stage, key, until, body FROM admission_memory ORDER BY until DESC LIMIT ?;
-- memory_of: what stages of admission know of these keys
SELECT trigger, stage, key, until, body FROM admission_memory WHERE (trigger, stage, key) IN (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?));
-- admitted_runs: runs that hold keys of admission and have not ended, by id
SELECT run_id, trigger, admission FROM runs WHERE ended_at IS NULL AND admission IS NOT NULL AND run_id > ? ORDER BY run_id LIMIT ?;
-- events_at: the events at these positions
SELECT position, received_at, body FROM events WHERE position IN (SELECT value FROM json_each(?)) ORDER BY position;
-- put_duration: how long a task takes, as known now; what was learned later stays
INSERT INTO task_durations (dag, task, at, body) VALUES (?, ?, ?, ?) ON CONFLICT (dag, task) DO UPDATE SET at = excluded.at, body = excluded.body WHERE excluded.at >= task_durations.at;
-- forget_durations: forget tasks that have not run for long
DELETE FROM task_durations WHERE at < ?;
-- durations_of: how long the tasks of a DAG take
SELECT dag, task, at, body FROM task_durations WHERE dag = ?;
-- durations_since: how long tasks take that were learned at or after a time, the latest first
SELECT dag, task, at, body FROM task_durations WHERE at >= ?1 ORDER BY at DESC LIMIT ?2;
-- history_after: the decisions of a run after one of them
SELECT sequence, at, body FROM history WHERE run = (SELECT number FROM runs WHERE run_id = ?1) AND sequence > ?2 ORDER BY sequence LIMIT ?3;
-- put_cached: results that may be used again
INSERT OR REPLACE INTO task_cache (key, dag, task, run_id, at, result) VALUES
-- cached: what there is of these keys
SELECT key, dag, task, run_id, at, result FROM task_cache WHERE key IN (SELECT value FROM json_each(?));
-- list_cached: results that may be used again, newest first; conditions replace the marker
SELECT key, dag, task, run_id, at, length(result) FROM task_cache WHERE (at, key) < (?1, ?2) {conditions} ORDER BY at DESC, key DESC LIMIT ?3;
-- count_cached: how many results fulfil conditions
SELECT count(*) FROM task_cache WHERE (?1 = '' OR dag = ?1) AND (?2 = '' OR task = ?2) AND (?3 = '' OR key = ?3) AND at < ?4;
-- clear_cached: forget results that fulfil conditions
DELETE FROM task_cache WHERE (?1 = '' OR dag = ?1) AND (?2 = '' OR task = ?2) AND (?3 = '' OR key = ?3) AND at < ?4;
-- drop_cached: forget results of runs that are dropped
DELETE FROM task_cache WHERE run_id = ?;
-- prune_cached: forget old results
DELETE FROM task_cache WHERE at < ?;
-- put_hold: a run refers to results that are kept with another one
INSERT INTO result_holds (held, run_id) VALUES (?, ?) ON CONFLICT DO NOTHING;
-- drop_holds: runs that are dropped hold nothing any more
DELETE FROM result_holds WHERE run_id = ?;
-- holds: which runs hold results of these, and whether those are there themselves
SELECT held, run_id, EXISTS (SELECT 1 FROM runs WHERE runs.run_id = result_holds.held) FROM result_holds WHERE held IN (SELECT value FROM json_each(?));
-- held_by: the runs whose results these hold
SELECT DISTINCT held FROM result_holds WHERE run_id IN (SELECT value FROM json_each(?));
-- put_quarantined: a run was failed because it may kill the process
INSERT INTO quarantined (run_id, at) VALUES (?, ?) ON CONFLICT DO NOTHING;
-- drop_quarantined: nobody needs to look at a run any more
DELETE FROM quarantined WHERE run_id = ?;
-- put_pool: set the slots of a pool
INSERT INTO pools (name, slots, by, at) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET slots = excluded.slots, by = excluded.by, at = excluded.at;
-- drop_pool: what the settings say of a pool holds again
DELETE FROM pools WHERE name = ?;
-- pools: limits of pools that were set
SELECT name, slots, by, at FROM pools ORDER BY name;
-- put_past: what a task came to that depends on the past
INSERT INTO past_outcomes (dag, task, run_id, state) VALUES (?, ?, ?, ?) ON CONFLICT (dag, task, run_id) DO UPDATE SET state = excluded.state;
-- prune_past: nobody looks further back than to the few last places of a task
DELETE FROM past_outcomes WHERE dag = ?1 AND task = ?2 AND run_id < (SELECT run_id FROM past_outcomes WHERE dag = ?1 AND task = ?2 AND run_id <= ?3 ORDER BY run_id DESC LIMIT 1 OFFSET 50);
-- past_outcomes: what the tasks of one place came to
SELECT task, state FROM past_outcomes WHERE dag = ? AND run_id = ?;
-- run_before: the run of a DAG before a place, runs that were made again left out
SELECT run_id FROM runs WHERE dag = ?1 AND trigger <> 'retry' AND number < (SELECT number FROM runs WHERE run_id = ?2) ORDER BY number DESC LIMIT 1;
-- put_wait: waits that begin
INSERT INTO waits (run_id, task, kind, shard, due_at, pattern, key, since, routed, from_at) VALUES
-- delete_wait: a wait has ended
DELETE FROM waits WHERE run_id = ? AND task = ?;
-- delete_waits: a run has ended, and all its waits with it
DELETE FROM waits WHERE run_id = ?;
-- insert_wait_pattern: what versions of DAGs wait for
INSERT OR IGNORE INTO wait_patterns (pattern, body) VALUES
-- wait_patterns: everything that was ever waited for
SELECT pattern, body FROM wait_patterns;
-- awaited_patterns: patterns that somebody waits for
SELECT DISTINCT pattern FROM waits WHERE pattern IS NOT NULL;
-- drop_wait_pattern: nobody waits for it, or will
DELETE FROM wait_patterns WHERE pattern = ?;
-- waited_for: which of these keys somebody waits for
SELECT value FROM json_each(?) WHERE EXISTS (SELECT 1 FROM waits WHERE waits.key = value);
-- insert_hit: an event that some wait may have waited for
INSERT OR IGNORE INTO wait_hits (key, position) VALUES
-- hit_waits: waits whose event is there, the earlier event of a wait first
SELECT w.run_id, w.task, h.position FROM wait_hits AS h CROSS JOIN waits AS w WHERE w.key = h.key AND w.since < h.position AND w.since >= w.routed AND (?2 IS NULL OR shard IN (SELECT value FROM json_each(?2))) ORDER BY h.key, h.position LIMIT ?1;
-- forget_hits: forget events that no wait can wait for
DELETE FROM wait_hits WHERE ? AND NOT EXISTS (SELECT 1 FROM waits WHERE waits.key = wait_hits.key AND waits.since < wait_hits.position);
-- unread_waits: waits for which a part of the log has to be read
SELECT run_id, task, pattern, key, since, routed, from_at FROM waits WHERE since < routed AND (?2 IS NULL OR shard IN (SELECT value FROM json_each(?2))) LIMIT ?1;
-- have_read_waits: the log was read for a wait
UPDATE waits SET since = ?3 WHERE run_id = ?1 AND task = ?2;
-- first_due_wait: when the time of the first wait is up
SELECT due_at FROM waits WHERE due_at IS NOT NULL AND due_at > ?1 AND (?2 IS NULL OR shard IN (SELECT value FROM json_each(?2))) ORDER BY due_at LIMIT 1;
-- due_waits: waits whose time is up, a page
SELECT run_id, task, kind, due_at FROM waits WHERE due_at IS NOT NULL AND due_at <= ?1 AND (due_at, run_id, task) > (?2, ?3, ?4) AND (?6 IS NULL OR shard IN (SELECT value FROM json_each(?6))) ORDER BY due_at, run_id, task LIMIT ?5;
-- wait_counts: number of waits by kind
SELECT kind, count(*) FROM waits WHERE (?1 IS NULL OR shard IN (SELECT value FROM json_each(?1))) GROUP BY kind;
-- parked_runs: those of these runs that only wait, found by their ids (the plus signs keep off the index of states)
SELECT run_id, dag, version, state, trigger, position, event_source, event_id, parameters, queued_at, started_at, ended_at, correlation_id, hop_count, traceparent, shard FROM runs WHERE run_id IN (SELECT value FROM json_each(?)) AND +ended_at IS NULL AND +state = 'waiting';
-- parked_count: number of runs that only wait
SELECT count(*) FROM runs WHERE ended_at IS NULL AND state = 'waiting' AND (?1 IS NULL OR shard IN (SELECT value FROM json_each(?1)));
-- parked_count_of: number of runs of a DAG that only wait
SELECT count(*) FROM runs WHERE ended_at IS NULL AND state = 'waiting' AND dag = ?1 AND (?2 IS NULL OR shard IN (SELECT value FROM json_each(?2)));
-- insert_approval: people are asked
INSERT INTO approvals (id, run_id, dag, task, state, title, form, assignees, quorum, asked_at, due_at, ended_at) VALUES
-- cancel_approvals: nobody needs to be asked any more
UPDATE approvals SET state = 'cancelled', ended_at = ? WHERE run_id = ? AND state = 'open';
-- drop_approvals: what people were asked by runs that are dropped
DELETE FROM approvals WHERE run_id = ?;
-- insert_approval_decision: somebody decides, while it is open and for the first time
INSERT INTO approval_decisions (approval, by, decision, at, via, data) SELECT ?1, ?2, ?3, ?4, ?5, ?6 FROM approvals WHERE id = ?1 AND state = 'open' ON CONFLICT DO NOTHING;
-- settle_approval: an approval ends when somebody rejected or enough approved
UPDATE approvals SET state = CASE WHEN EXISTS (SELECT 1 FROM approval_decisions WHERE approval = ?1 AND decision = 'reject') THEN 'rejected' ELSE 'approved' END, ended_at = ?2 WHERE id = ?1 AND state = 'open' AND (EXISTS (SELECT 1 FROM approval_decisions WHERE approval = ?1 AND decision = 'reject') OR (SELECT count(*) FROM approval_decisions WHERE approval = ?1 AND decision = 'approve') >= quorum);
-- time_out_approval: the time of an approval is up
UPDATE approvals SET state = 'timed_out', ended_at = ?3 WHERE run_id = ?1 AND task = ?2 AND state = 'open';
-- request_time_out: tell the engine that the time of an approval is up
INSERT INTO requests (run_id, kind, at, by) SELECT run_id, 'approval', ?3, 'time' FROM approvals WHERE run_id = ?1 AND task = ?2 AND state = 'timed_out' AND ended_at = ?3;
-- request_approval: tell the engine that an approval has just ended
INSERT INTO requests (run_id, kind, at, by) SELECT run_id, 'approval', ?2, ?3 FROM approvals WHERE id = ?1 AND state <> 'open' AND ended_at = ?2;
-- approval: what people were asked
SELECT id, run_id, dag, task, state, title, form, assignees, quorum, asked_at, due_at, ended_at FROM approvals WHERE id = ?;
-- list_approvals: approvals newest first; conditions replace the marker
SELECT id, run_id, dag, task, state, title, form, assignees, quorum, asked_at, due_at, ended_at FROM approvals WHERE id < ?1 {conditions} ORDER BY id DESC LIMIT ?2;
-- approval_decisions: what was said, in order
SELECT by, decision, at, via, data FROM approval_decisions WHERE approval = ? ORDER BY at, by;
-- approval_decision: what one person said
SELECT by, decision, at, via, data FROM approval_decisions WHERE approval = ? AND by = ?;
-- insert_meta: remember a fact about the database, once
INSERT OR IGNORE INTO meta (name, value) VALUES
-- meta_of: a fact about the database
SELECT value FROM meta WHERE name = ?;
