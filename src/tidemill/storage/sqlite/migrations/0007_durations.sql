-- How long tasks take, as learned from attempts that succeeded: one small sketch for each task of each DAG.
CREATE TABLE task_durations (
  dag TEXT NOT NULL,
  task TEXT NOT NULL,
  at INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (dag, task)
) STRICT, WITHOUT ROWID;

CREATE INDEX task_durations_by_time ON task_durations (at);
