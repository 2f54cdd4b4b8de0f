CREATE TABLE meta (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The event log. `key` is a hash of (source, id), `digest` one of the content, `body` the JSON event format.
CREATE TABLE events (
  position INTEGER PRIMARY KEY,
  key BLOB NOT NULL,
  digest BLOB NOT NULL,
  received_at INTEGER NOT NULL,
  type TEXT NOT NULL,
  source TEXT NOT NULL,
  body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX events_key ON events (key);
CREATE INDEX events_type ON events (type, position);

CREATE TABLE cursors (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE files (
  source TEXT NOT NULL,
  path TEXT NOT NULL,
  inode INTEGER NOT NULL,
  size INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL,
  digest TEXT NOT NULL,
  PRIMARY KEY (source, path, inode, size, mtime_ns)
) STRICT, WITHOUT ROWID;

CREATE TABLE dispositions (
  position INTEGER NOT NULL,
  trigger TEXT NOT NULL,
  kind TEXT NOT NULL,
  run_id TEXT,
  detail TEXT NOT NULL,
  PRIMARY KEY (position, trigger)
) STRICT, WITHOUT ROWID;

-- One summary row per run. `number` is the short name that history rows use.
CREATE TABLE runs (
  number INTEGER PRIMARY KEY,
  run_id TEXT NOT NULL,
  dag TEXT NOT NULL,
  version TEXT NOT NULL,
  state TEXT NOT NULL,
  trigger TEXT NOT NULL,
  position INTEGER NOT NULL,
  event_source TEXT NOT NULL,
  event_id TEXT NOT NULL,
  parameters BLOB NOT NULL,
  queued_at INTEGER NOT NULL,
  started_at INTEGER,
  ended_at INTEGER,
  correlation_id TEXT NOT NULL,
  hop_count INTEGER NOT NULL,
  traceparent TEXT
) STRICT;
CREATE UNIQUE INDEX runs_id ON runs (run_id);
CREATE INDEX runs_dag ON runs (dag, run_id);
CREATE INDEX runs_open ON runs (state, dag, run_id) WHERE ended_at IS NULL;
CREATE INDEX runs_unhappy ON runs (state, run_id) WHERE state IN ('failed', 'cancelled');

-- Append-only; rows of many runs lie side by side in the order of time, found by the index.
CREATE TABLE history (
  run INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  at INTEGER NOT NULL,
  body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX history_sequence ON history (run, sequence);

CREATE TABLE requests (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  run_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  at INTEGER NOT NULL,
  by TEXT NOT NULL
) STRICT;

CREATE TABLE deliveries (
  subscription TEXT NOT NULL,
  position INTEGER NOT NULL,
  state TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  detail TEXT NOT NULL,
  PRIMARY KEY (position, subscription)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_pending ON deliveries (subscription, position) WHERE state = 'pending';

CREATE TABLE dead_letters (
  id TEXT PRIMARY KEY,
  at INTEGER NOT NULL,
  stage TEXT NOT NULL,
  code TEXT NOT NULL,
  detail TEXT NOT NULL,
  origin TEXT NOT NULL,
  coordinates TEXT NOT NULL,
  body BLOB NOT NULL,
  position INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX dead_letters_stage ON dead_letters (stage, id);

CREATE TABLE versions (
  dag TEXT NOT NULL,
  version TEXT NOT NULL,
  file TEXT NOT NULL,
  source TEXT NOT NULL,
  graph BLOB NOT NULL,
  PRIMARY KEY (dag, version)
) STRICT, WITHOUT ROWID;
