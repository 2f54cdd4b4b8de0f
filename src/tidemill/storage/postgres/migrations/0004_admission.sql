-- Admission keys of a run that holds a slot, keeps an idempotency key or can be cancelled by key, as JSON.
ALTER TABLE runs ADD COLUMN admission TEXT;
CREATE INDEX runs_admitted ON runs (run_id) WHERE ended_at IS NULL AND admission IS NOT NULL;

-- Events that matched a trigger and wait in a stage of its admission; gone once they have their disposition.
CREATE TABLE held_events (
  position BIGINT NOT NULL,
  trigger TEXT COLLATE "C" NOT NULL,
  stage TEXT NOT NULL,
  key TEXT COLLATE "C" NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (position, trigger)
);

-- What a stage remembers of a key and may forget after `until`.
CREATE TABLE admission_memory (
  trigger TEXT COLLATE "C" NOT NULL,
  stage TEXT COLLATE "C" NOT NULL,
  key TEXT COLLATE "C" NOT NULL,
  until BIGINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (trigger, stage, key)
) WITH (fillfactor = 80);
CREATE INDEX admission_memory_until ON admission_memory (until);
