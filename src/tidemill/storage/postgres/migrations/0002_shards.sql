-- Which shard a run belongs to: its owner works on it.
ALTER TABLE runs ADD COLUMN shard BIGINT NOT NULL DEFAULT 0;
CREATE INDEX runs_open_shard ON runs (shard, run_id) WHERE ended_at IS NULL;

-- Processes that share this database. `session` is the backend that holds a node's shards.
CREATE TABLE nodes (
  node TEXT COLLATE "C" PRIMARY KEY,
  url TEXT NOT NULL,
  session INTEGER NOT NULL,
  session_start TIMESTAMPTZ,
  started_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
  seen_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
  draining BOOLEAN NOT NULL DEFAULT false,
  load TEXT NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);

-- Who took a shard last; the truth is the advisory lock. Each taking raises the epoch.
CREATE TABLE shards (
  shard INTEGER PRIMARY KEY,
  epoch BIGINT NOT NULL,
  node TEXT COLLATE "C" NOT NULL
) WITH (fillfactor = 50);
INSERT INTO shards (shard, epoch, node) SELECT shard, 0, '' FROM generate_series(0, 255) AS shard;
