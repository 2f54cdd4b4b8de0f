-- What tasks wait for, from the commit in which a wait begins to the one in which it ends: a run that only waits is
-- woken by its rows here, and nothing of it is in memory. `key` is a hash of pattern and values, of waits for events:
-- those with a position > `since` count. Up to `routed` nobody has looked for them on behalf of this wait; while
-- `since` < `routed`, somebody has to read that part of the log, events received from `from_at` on.
CREATE TABLE waits (
  run_id TEXT COLLATE "C" NOT NULL,
  task TEXT COLLATE "C" NOT NULL,
  kind TEXT NOT NULL,
  shard BIGINT NOT NULL DEFAULT 0,
  due_at BIGINT,
  pattern TEXT COLLATE "C",
  key TEXT COLLATE "C",
  since BIGINT NOT NULL,
  routed BIGINT NOT NULL,
  from_at BIGINT,
  PRIMARY KEY (run_id, task)
);
CREATE INDEX waits_due ON waits (due_at, run_id, task) WHERE due_at IS NOT NULL;
CREATE INDEX waits_key ON waits (key, since) WHERE key IS NOT NULL;
CREATE INDEX waits_unread ON waits (shard) WHERE since < routed;

-- Patterns that versions of DAGs wait for, with the paths whose values are compared, as JSON; by their hash.
CREATE TABLE wait_patterns (
  pattern TEXT COLLATE "C" PRIMARY KEY,
  body BYTEA NOT NULL
);

-- Events that some wait may have waited for, until every such wait has been told.
CREATE TABLE wait_hits (
  key TEXT COLLATE "C" NOT NULL,
  position BIGINT NOT NULL,
  PRIMARY KEY (key, position)
);

-- What people are asked to decide. `state` is open until it is approved, rejected, timed_out or cancelled, once.
CREATE TABLE approvals (
  id TEXT COLLATE "C" PRIMARY KEY,
  run_id TEXT COLLATE "C" NOT NULL,
  dag TEXT NOT NULL,
  task TEXT COLLATE "C" NOT NULL,
  state TEXT NOT NULL,
  title TEXT NOT NULL,
  form BYTEA NOT NULL,
  assignees TEXT NOT NULL,
  quorum BIGINT NOT NULL,
  asked_at BIGINT NOT NULL,
  due_at BIGINT,
  ended_at BIGINT
);
CREATE INDEX approvals_state ON approvals (state, id);
CREATE INDEX approvals_run ON approvals (run_id);

-- What each person said, once.
CREATE TABLE approval_decisions (
  approval TEXT COLLATE "C" NOT NULL REFERENCES approvals (id) ON DELETE CASCADE,
  by TEXT COLLATE "C" NOT NULL,
  decision TEXT NOT NULL,
  at BIGINT NOT NULL,
  via TEXT NOT NULL,
  data BYTEA NOT NULL,
  PRIMARY KEY (approval, by)
);
