-- What the project's folders said, by version: dispositions are explained against what was live at their time.
CREATE TABLE definitions (
  version TEXT PRIMARY KEY,
  saved_at INTEGER NOT NULL,
  written BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Events after `position` are routed under `version`, until the next row.
CREATE TABLE routed_under (
  position INTEGER PRIMARY KEY,
  version TEXT NOT NULL,
  at INTEGER NOT NULL
) STRICT;
