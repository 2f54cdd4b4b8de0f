-- Limits of pools that somebody set while the service ran: they hold until they are reset, whatever the settings say.
CREATE TABLE pools (
  name TEXT COLLATE "C" PRIMARY KEY,
  slots BIGINT NOT NULL,
  by TEXT NOT NULL,
  at BIGINT NOT NULL
);

-- What tasks that depend on the past came to, by the run whose place in the order of runs it was. Only the last few
-- of each task are kept: nobody looks further back than to the run before.
CREATE TABLE past_outcomes (
  dag TEXT COLLATE "C" NOT NULL,
  task TEXT COLLATE "C" NOT NULL,
  run_id TEXT COLLATE "C" NOT NULL,
  state TEXT NOT NULL,
  PRIMARY KEY (dag, task, run_id)
);

-- Runs of a DAG in the order in which they were queued; one that was made again has the place of the first.
CREATE INDEX runs_order ON runs (dag, number) WHERE trigger <> 'retry';
