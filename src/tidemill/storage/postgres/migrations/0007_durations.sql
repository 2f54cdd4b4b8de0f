-- How long tasks take, as learned from attempts that succeeded: one small sketch for each task of each DAG.
CREATE TABLE task_durations (
  dag TEXT COLLATE "C" NOT NULL,
  task TEXT COLLATE "C" NOT NULL,
  at BIGINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (dag, task)
);

CREATE INDEX task_durations_by_time ON task_durations (at);
