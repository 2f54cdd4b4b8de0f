-- Where a dead letter stands: open, redriven, discarded.
ALTER TABLE dead_letters ADD COLUMN state TEXT NOT NULL DEFAULT 'open';
CREATE INDEX dead_letters_state ON dead_letters (state, id);

-- What people did with a dead letter, in order; an edit keeps the new version's bytes, the letter its first ones.
CREATE TABLE dead_letter_actions (
  letter TEXT NOT NULL REFERENCES dead_letters (id) ON DELETE CASCADE,
  number INTEGER NOT NULL,
  at INTEGER NOT NULL,
  by TEXT NOT NULL,
  kind TEXT NOT NULL,
  reason TEXT NOT NULL,
  detail TEXT NOT NULL,
  body BLOB,
  PRIMARY KEY (letter, number)
) STRICT, WITHOUT ROWID;

-- A delivery that was redriven sends what its dead letter holds.
ALTER TABLE deliveries ADD COLUMN letter TEXT;

-- Subscriptions made by API: one row per change, at the position of the event that tells of it; no body means deleted.
CREATE TABLE subscriptions (
  position INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  body BLOB
) STRICT;
CREATE INDEX subscriptions_id ON subscriptions (id, position);

-- Whether a subscription delivers, whoever made it; no row means that it does. `version` rises with every change.
CREATE TABLE subscription_states (
  subscription TEXT PRIMARY KEY,
  state TEXT NOT NULL,
  reason TEXT NOT NULL,
  by TEXT NOT NULL,
  at INTEGER NOT NULL,
  redriven INTEGER NOT NULL,
  version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The last attempts of each subscription: slots are used again, so that the table does not grow with deliveries.
CREATE TABLE delivery_attempts (
  subscription TEXT NOT NULL,
  slot INTEGER NOT NULL,
  number INTEGER NOT NULL,
  position INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  at INTEGER NOT NULL,
  duration_us INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  status INTEGER,
  error TEXT NOT NULL,
  PRIMARY KEY (subscription, slot)
) STRICT, WITHOUT ROWID;

-- Runs of trees whose end somebody waits for; `done` once the run's completion event was routed.
CREATE TABLE tree_runs (
  correlation_id TEXT NOT NULL,
  run_id TEXT NOT NULL,
  done INTEGER NOT NULL,
  PRIMARY KEY (correlation_id, run_id)
) STRICT, WITHOUT ROWID;
