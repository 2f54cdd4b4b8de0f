"""The only SQL: the event log, runs, outbox and ledgers behind one contract (see `contract`)."""
