-- Identities of events that were dropped from the log: until the dedupe window has passed, they are still duplicates.
CREATE TABLE identities (
  key BYTEA PRIMARY KEY,
  digest BYTEA NOT NULL,
  position BIGINT NOT NULL,
  received_at BIGINT NOT NULL
);
CREATE INDEX identities_position ON identities (position);
CREATE INDEX dead_letters_at ON dead_letters (at);
CREATE INDEX deliveries_open ON deliveries (position) WHERE state = 'pending';
CREATE INDEX runs_open_position ON runs (position) WHERE ended_at IS NULL;
