-- What the project's folders said, by version: dispositions are explained against what was live at their time.
CREATE TABLE definitions (
  version TEXT COLLATE "C" PRIMARY KEY,
  saved_at BIGINT NOT NULL,
  written BYTEA NOT NULL
);

-- Events after `position` are routed under `version`, until the next row.
CREATE TABLE routed_under (
  position BIGINT PRIMARY KEY,
  version TEXT NOT NULL,
  at BIGINT NOT NULL
);
