-- Which shard a run belongs to: several nodes share one database only on PostgreSQL, where this says who works on it.
ALTER TABLE runs ADD COLUMN shard INTEGER NOT NULL DEFAULT 0;
