"""Suites on virtual time, once more on PostgreSQL: the tests are the unit suites', the database is a real one.

One database serves them all, one after the other: to empty it takes a tenth of the time that making another one does.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tidemill.testing.postgres import PostgresServer

#: Keeps what a new database holds, and a procedure that brings the database back to it.
_REMEMBER = """
CREATE SCHEMA seed;
DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
    EXECUTE format('CREATE TABLE seed.%1$I AS TABLE public.%1$I', name);
  END LOOP;
END $$;
CREATE PROCEDURE seed.restore() LANGUAGE plpgsql AS $$ DECLARE name text; BEGIN
  PERFORM pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
  SET LOCAL session_replication_role = replica;  -- in any order, whatever refers to what
  FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
    EXECUTE format('DELETE FROM public.%I', name);  -- cheaper than TRUNCATE for so few rows
    EXECUTE format('INSERT INTO public.%1$I OVERRIDING SYSTEM VALUE TABLE seed.%1$I', name);
  END LOOP;
  FOR name IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' LOOP
    EXECUTE format('ALTER SEQUENCE public.%I RESTART', name);
  END LOOP;
END $$;
"""


@pytest.fixture(scope="session")
def virtual_database(postgres_server: PostgresServer) -> Iterator[str]:
    """The database of these suites."""
    name = f"virtual_{uuid.uuid4().hex}"
    postgres_server.create_database(name, template="migrated")
    postgres_server.run(_REMEMBER, name)
    yield name
    postgres_server.run(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def tidemill_database_url(postgres_server: PostgresServer, virtual_database: str) -> Iterator[str]:
    """An empty database for each test."""
    yield postgres_server.url(virtual_database)
    postgres_server.run("CALL seed.restore()", virtual_database)
