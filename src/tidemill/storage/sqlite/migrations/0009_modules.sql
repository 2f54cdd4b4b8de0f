-- The modules beside a DAG's file that its version is made of: JSON, digest of the text by path. NULL: kept before
-- modules were.
ALTER TABLE versions ADD COLUMN modules BLOB;
ALTER TABLE versions ADD COLUMN saved_at INTEGER NOT NULL DEFAULT 0;

-- Their texts, each once however many versions it is part of.
CREATE TABLE module_texts (
  digest TEXT PRIMARY KEY,
  text TEXT NOT NULL
) STRICT, WITHOUT ROWID;
