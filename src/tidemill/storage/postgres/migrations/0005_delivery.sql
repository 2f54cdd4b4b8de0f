-- Where a dead letter stands: open, redriven, discarded.
ALTER TABLE dead_letters ADD COLUMN state TEXT NOT NULL DEFAULT 'open';
CREATE INDEX dead_letters_state ON dead_letters (state, id);

-- What people did with a dead letter, in order; an edit keeps the new version's bytes, the letter its first ones.
CREATE TABLE dead_letter_actions (
  letter TEXT COLLATE "C" NOT NULL REFERENCES dead_letters (id) ON DELETE CASCADE,
  number BIGINT NOT NULL,
  at BIGINT NOT NULL,
  by TEXT NOT NULL,
  kind TEXT NOT NULL,
  reason TEXT NOT NULL,
  detail TEXT NOT NULL,
  body BYTEA,
  PRIMARY KEY (letter, number)
);

-- A delivery that was redriven sends what its dead letter holds.
ALTER TABLE deliveries ADD COLUMN letter TEXT COLLATE "C";

-- Subscriptions made by API: one row per change, at the position of the event that tells of it; no body means deleted.
CREATE TABLE subscriptions (
  position BIGINT PRIMARY KEY,
  id TEXT COLLATE "C" NOT NULL,
  body BYTEA
);
CREATE INDEX subscriptions_id ON subscriptions (id, position);

-- Whether a subscription delivers, whoever made it; no row means that it does. `version` rises with every change.
CREATE TABLE subscription_states (
  subscription TEXT COLLATE "C" PRIMARY KEY,
  state TEXT NOT NULL,
  reason TEXT NOT NULL,
  by TEXT NOT NULL,
  at BIGINT NOT NULL,
  redriven BIGINT NOT NULL,
  version BIGINT NOT NULL
);

-- The last attempts of each subscription: slots are used again, so that the table does not grow with deliveries.
CREATE TABLE delivery_attempts (
  subscription TEXT COLLATE "C" NOT NULL,
  slot BIGINT NOT NULL,
  number BIGINT NOT NULL,
  position BIGINT NOT NULL,
  attempt BIGINT NOT NULL,
  at BIGINT NOT NULL,
  duration_us BIGINT NOT NULL,
  outcome TEXT NOT NULL,
  status BIGINT,
  error TEXT NOT NULL,
  PRIMARY KEY (subscription, slot)
) WITH (fillfactor = 70);

-- Runs of trees whose end somebody waits for; `done` once the run's completion event was routed.
CREATE TABLE tree_runs (
  correlation_id TEXT COLLATE "C" NOT NULL,
  run_id TEXT COLLATE "C" NOT NULL,
  done BIGINT NOT NULL,
  PRIMARY KEY (correlation_id, run_id)
);
