-- Limits of pools that somebody set while the service ran: they hold until they are reset, whatever the settings say.
CREATE TABLE pools (
  name TEXT PRIMARY KEY,
  slots INTEGER NOT NULL,
  by TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What tasks that depend on the past came to, by the run whose place in the order of runs it was. Only the last few
-- of each task are kept: nobody looks further back than to the run before.
CREATE TABLE past_outcomes (
  dag TEXT NOT NULL,
  task TEXT NOT NULL,
  run_id TEXT NOT NULL,
  state TEXT NOT NULL,
  PRIMARY KEY (dag, task, run_id)
) STRICT, WITHOUT ROWID;

-- Runs of a DAG in the order in which they were queued; one that was made again has the place of the first.
CREATE INDEX runs_order ON runs (dag) WHERE trigger <> 'retry';
