"""DATABASES → LOG: rows that change in other databases. PostgreSQL tells by logical replication; others are asked."""
