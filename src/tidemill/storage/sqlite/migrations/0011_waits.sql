-- What tasks wait for, from the commit in which a wait begins to the one in which it ends: a run that only waits is
-- woken by its rows here, and nothing of it is in memory. `key` is a hash of pattern and values, of waits for events:
-- those with a position > `since` count. Up to `routed` nobody has looked for them on behalf of this wait; while
-- `since` < `routed`, somebody has to read that part of the log, events received from `from_at` on.
CREATE TABLE waits (
  run_id TEXT NOT NULL,
  task TEXT NOT NULL,
  kind TEXT NOT NULL,
  shard INTEGER NOT NULL DEFAULT 0,
  due_at INTEGER,
  pattern TEXT,
  key TEXT,
  since INTEGER NOT NULL,
  routed INTEGER NOT NULL,
  from_at INTEGER,
  PRIMARY KEY (run_id, task)
) STRICT, WITHOUT ROWID;
CREATE INDEX waits_due ON waits (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX waits_key ON waits (key, since) WHERE key IS NOT NULL;
CREATE INDEX waits_unread ON waits (shard) WHERE since < routed;

-- Patterns that versions of DAGs wait for, with the paths whose values are compared, as JSON; by their hash.
CREATE TABLE wait_patterns (
  pattern TEXT PRIMARY KEY,
  body BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Events that some wait may have waited for, until every such wait has been told.
CREATE TABLE wait_hits (
  key TEXT NOT NULL,
  position INTEGER NOT NULL,
  PRIMARY KEY (key, position)
) STRICT, WITHOUT ROWID;

-- What people are asked to decide. `state` is open until it is approved, rejected, timed_out or cancelled, once.
CREATE TABLE approvals (
  id TEXT PRIMARY KEY,
  run_id TEXT NOT NULL,
  dag TEXT NOT NULL,
  task TEXT NOT NULL,
  state TEXT NOT NULL,
  title TEXT NOT NULL,
  form BLOB NOT NULL,
  assignees TEXT NOT NULL,
  quorum INTEGER NOT NULL,
  asked_at INTEGER NOT NULL,
  due_at INTEGER,
  ended_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX approvals_state ON approvals (state, id);
CREATE INDEX approvals_run ON approvals (run_id);

-- What each person said, once.
CREATE TABLE approval_decisions (
  approval TEXT NOT NULL REFERENCES approvals (id) ON DELETE CASCADE,
  by TEXT NOT NULL,
  decision TEXT NOT NULL,
  at INTEGER NOT NULL,
  via TEXT NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (approval, by)
) STRICT, WITHOUT ROWID;
