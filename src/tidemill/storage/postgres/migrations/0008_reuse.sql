-- Results that may be used again for the same code and inputs; `key` is a hash of both, in hex.
CREATE TABLE task_cache (
  key TEXT COLLATE "C" PRIMARY KEY,
  dag TEXT COLLATE "C" NOT NULL,
  task TEXT COLLATE "C" NOT NULL,
  run_id TEXT COLLATE "C" NOT NULL,
  at BIGINT NOT NULL,
  result BYTEA NOT NULL
);
CREATE INDEX task_cache_at ON task_cache (at, key);
CREATE INDEX task_cache_run ON task_cache (run_id);

-- Runs whose histories refer to results that are kept with another run: those stay while these do.
CREATE TABLE result_holds (
  held TEXT COLLATE "C" NOT NULL,
  run_id TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (held, run_id)
);
CREATE INDEX result_holds_run ON result_holds (run_id);

-- Runs that were failed because the process died too often while they were running, until somebody runs them again.
CREATE TABLE quarantined (
  run_id TEXT COLLATE "C" PRIMARY KEY,
  at BIGINT NOT NULL
);
