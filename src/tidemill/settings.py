"""Every setting, with its unit and default.

Read from `tidemill.toml` in the project folder, then from variables `TIDEMILL_*` (which win). Unknown names in the
file are refused.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Literal

import pydantic
import pydantic_settings
from pydantic import Field, SecretStr

from tidemill.errors import SettingsError

__all__ = ["KafkaCluster", "PoolSettings", "SecretPlace", "Settings", "load"]


class SecretPlace(pydantic.BaseModel):
    """Where a secret is found: exactly one of a variable and a file (relative to the project folder)."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    env: str | None = None
    file: str | None = None

    @pydantic.model_validator(mode="after")
    def _is_one(self) -> SecretPlace:
        if (self.env is None) is (self.file is None):
            raise ValueError("a secret has exactly one of env and file")
        return self


class KafkaCluster(pydantic.BaseModel):
    """How one Kafka cluster is reached; the names are those of Kafka's clients."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    #: Brokers as host:port,host:port; only the default cluster may leave it to kafka_bootstrap_servers.
    bootstrap_servers: str | None = Field(None, min_length=1)
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    username: str | SecretPlace | None = None
    password: SecretPlace | None = None
    #: Files, relative to the project folder or absolute. Without ssl_cafile the system's authorities hold.
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_key_password: SecretPlace | None = None
    #: False trusts any broker whose certificate is right, whatever its name.
    ssl_check_hostname: bool = True

    @pydantic.model_validator(mode="after")
    def _fits(self) -> KafkaCluster:
        is_sasl = self.security_protocol.startswith("SASL_")
        if is_sasl and (self.username is None or self.password is None):
            raise ValueError(f"{self.security_protocol} needs username and password")
        if not is_sasl and (self.username is not None or self.password is not None):
            raise ValueError("username and password need security_protocol SASL_SSL or SASL_PLAINTEXT")
        is_tls = self.security_protocol.endswith("SSL")
        if not is_tls and (self.ssl_cafile or self.ssl_certfile or self.ssl_keyfile):
            raise ValueError("ssl_ files need security_protocol SSL or SASL_SSL")
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise ValueError("ssl_keyfile needs ssl_certfile")
        return self


class PoolSettings(pydantic.BaseModel):
    """One pool; a number alone is its slots."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    #: Slots that its attempts may take at once; 0 pauses it.
    slots: int | None = Field(None, ge=0, le=1_000_000)
    #: Its part of an executor that several pools contend for, against 1 of the others.
    weight: float = Field(1.0, gt=0, le=1_000_000)
    #: Among whom it is shared while it is contended: DAGs, DAGs and the admission keys of their runs, or nobody.
    sharing: Literal["dag", "key", "none"] = "dag"
    #: Waiting tasks at which further runs of DAGs that use it are held back.
    max_queued: int = Field(10_000, ge=1)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _is_number(cls, value: Any) -> Any:
        return {"slots": value} if isinstance(value, int) and not isinstance(value, bool) else value


class Settings(pydantic_settings.BaseSettings):
    """Settings of one service; immutable once read."""

    model_config = pydantic_settings.SettingsConfigDict(
        env_prefix="TIDEMILL_", extra="forbid", frozen=True, validate_default=True
    )

    # where
    host: str = Field("127.0.0.1", description="Address the HTTP server listens on.")
    port: int = Field(
        7070, ge=0, le=65535, description="Port the HTTP server listens on; 0 picks a free one."
    )
    database: str = Field(
        "sqlite:.tidemill/tidemill.db",
        description="Where state is kept: sqlite:PATH (a relative path is in the project folder), or "
        "postgresql://USER:PASSWORD@HOST:PORT/NAME, which any number of nodes may share.",
        repr=False,
    )
    project_name: str | None = Field(
        None,
        min_length=1,
        max_length=250,
        description="What the project is called in a shared database; the folder's name without it.",
    )
    node_name: str | None = Field(
        None,
        min_length=1,
        max_length=250,
        description="What this node is called, unique in the fleet; host name and process id without it.",
    )
    node_timeout_seconds: float = Field(
        4.0,
        ge=2,
        description="Silence after which another node is taken for dead and its session ended, in seconds.",
    )

    # who
    api_token: SecretStr | None = Field(
        None,
        description="Bearer token that every route but health asks for; needed to listen beyond loopback.",
    )
    ingest_token: SecretStr | None = Field(
        None, description="Bearer token that may post events and webhooks and nothing else."
    )

    # how much
    max_body_bytes: int = Field(1 << 20, ge=1, description="Largest body of one event, decoded, in bytes.")
    max_batch_bytes: int = Field(8 << 20, ge=1, description="Largest body of a batch, decoded, in bytes.")
    max_batch_events: int = Field(1000, ge=1, description="Most events in one batch.")
    body_timeout_seconds: float = Field(
        30.0, gt=0, description="Longest time a request body may take, in seconds."
    )
    events_rate: str | None = Field(
        None,
        pattern=r"^[1-9][0-9]{0,6}/[smh]$",
        description="Requests that POST /events takes in a unit of time, such as 500/s; 429 beyond it.",
    )
    handshake_origins: str | None = Field(
        None,
        description="Senders that may register here by the CloudEvents webhook handshake: DNS names, "
        "comma-separated, *.example.com for all below, * for all. Without it OPTIONS is refused.",
    )
    max_wait_seconds: int = Field(
        30,
        ge=0,
        description="Longest time that a request with Prefer: wait=N waits for its runs; 0 waits for none.",
    )
    max_waiting_requests: int = Field(
        100, ge=0, description="Requests that wait for their runs at once in this process."
    )
    backlog_limit: int = Field(
        200_000, ge=1, description="Events accepted but not yet routed at which sources are told to wait."
    )
    write_queue_limit: int = Field(
        20_000, ge=1, description="Writes waiting for the disk at which sources are told to wait."
    )
    min_free_disk_bytes: int = Field(
        64 << 20, ge=0, description="Free disk space under which sources are told to wait, in bytes."
    )
    max_running_tasks: int = Field(256, ge=1, description="Task attempts that run at once in this process.")
    max_live_runs: int = Field(
        4096, ge=1, description="Runs that are started and not ended at once in this process."
    )
    thread_workers: int = Field(32, ge=1, description="Threads for plain (not coroutine) task functions.")
    process_workers: int | None = Field(
        None,
        ge=1,
        description='Most worker processes for tasks with executor="process"; as many as processors without it.',
    )
    process_idle_seconds: float = Field(
        60.0, gt=0, description="Time after which an idle worker process is ended, in seconds."
    )
    process_memory: int = Field(
        2 << 30,
        ge=0,
        description="Memory that an attempt in a worker process may take where its task has no memory=, in bytes; "
        "0 for no limit.",
    )
    process_cpu_seconds: float = Field(
        3600.0,
        ge=0,
        description="Processor time that an attempt in a worker process may take, in seconds; 0 for no limit.",
    )
    process_environment: str = Field(
        "PATH,HOME,USER,LOGNAME,LANG,LC_*,TZ,TMPDIR,SSL_CERT_FILE,SSL_CERT_DIR",
        description="Environment variables that tasks in worker processes see, comma-separated, * for anything; "
        "never TIDEMILL_*.",
    )
    max_tasks_per_dag: int = Field(1000, ge=1, description="Most tasks one DAG may have.")
    pools: dict[str, PoolSettings] = Field(
        {},
        description="Pools by name, each the number of its slots, or a table: slots, weight, sharing, max_queued. "
        "The one called default has no slots of its own.",
    )
    resources: dict[str, float | str] = Field(
        {},
        description="What this machine has for tasks, by name: cpu, memory and storage (bytes or a text such as "
        '"16GiB"), gpu (devices), and names of your own. Without them cpu, memory and free disk are what is there at '
        "the start, and nothing else is.",
    )
    priority_aging_seconds: float = Field(
        300.0,
        gt=0,
        description="Time of waiting that is worth one point of a task's priority, in seconds.",
    )
    max_overtakings: int = Field(
        64,
        ge=1,
        description="Tasks that may start before one that waits for more than is free, until room is kept for it.",
    )
    max_map_length: int = Field(
        200_000, ge=1, description="Most task runs one mapped task may have in one run; with more it fails."
    )
    max_result_bytes: int = Field(1 << 20, ge=1, description="Largest result of one task, as JSON, in bytes.")
    max_hops: int = Field(16, ge=1, description="Longest chain of runs starting runs before it is stopped.")
    max_held_events: int = Field(
        100_000,
        ge=1,
        description="Events that wait in the admission of one trigger before further ones are refused.",
    )
    max_recoveries: int = Field(
        5, ge=1, description="Process deaths a run may live through before it is failed."
    )

    # how much of the past
    retention_days: float = Field(
        30.0,
        ge=0,
        description="Age at which events, ended runs and dead letters are dropped, in days; 0 keeps them for ever.",
    )
    retention_bytes: int | None = Field(
        None,
        ge=1 << 20,
        description="Size of all event bodies at which the oldest are dropped, in bytes; no limit without it.",
    )
    dedupe_days: float = Field(
        7.0,
        ge=0,
        description="Time after which a dropped event's identity may come again as a new event, in days; the newest "
        "ten million identities are remembered in any case.",
    )
    undelivered_days: float = Field(
        90.0,
        ge=0,
        description="Age at which events that wait for a subscription which is paused, disabled or gone become dead "
        "letters, so that the log before them can be dropped, in days; 0 keeps them for ever.",
    )
    archive_url: str | None = Field(
        None,
        min_length=1,
        description="Where dropped events are kept as compressed JSON Lines: a folder (a relative path is in the "
        "project folder), or an fsspec URL that all nodes reach; dropped for good without it.",
    )

    # how long
    drain_seconds: float = Field(
        30.0, ge=0, description="Longest time for running tasks to end on SIGTERM, in seconds."
    )
    file_scan_seconds: float = Field(
        30.0, gt=0, description="Time between scans of watched folders, in seconds."
    )
    delivery_timeout_seconds: float = Field(
        15.0, gt=0, description="Longest time one delivery may take, in seconds."
    )
    delivery_concurrency: int = Field(8, ge=1, description="Deliveries of one subscription that run at once.")
    delivery_allowed_hosts: str | None = Field(
        None,
        description="Hosts, separated by commas (*.example.com for all below), that subscriptions made by API may be "
        "sent to without asking first, also where their addresses are private.",
    )
    delivery_origin: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9.*-]{1,253}$",
        description="DNS name under which receivers are asked for consent; the machine's name without it.",
    )

    # Kafka
    kafka_bootstrap_servers: str | None = Field(
        None,
        description="Brokers of the default cluster as host:port,host:port; Kafka sinks, and sources that name no "
        "other cluster, are off without it.",
    )
    kafka_clusters: dict[str, KafkaCluster] = Field(
        {},
        description="Clusters by name, each a table of its own: bootstrap_servers, security_protocol, sasl_mechanism, "
        "username, password, ssl_cafile and so on. The one called default secures kafka_bootstrap_servers.",
    )

    # clusters
    ray_address: str | None = Field(
        None,
        description='Ray cluster for tasks with executor="ray": HOST:PORT, ray://HOST:PORT or auto; off without it.',
    )
    ray_max_running_tasks: int = Field(
        256, ge=1, description="Task attempts that this process has at once in the Ray cluster."
    )
    ray_pack_actors: int = Field(
        2,
        ge=0,
        description="Warm Ray actors for small idempotent tasks; 0 makes each attempt a call of its own.",
    )
    ray_pack_size: int = Field(50, ge=1, description="Most attempts in one call of a warm Ray actor.")
    dask_address: str | None = Field(
        None,
        description='Dask scheduler for tasks with executor="dask", such as tcp://HOST:8786; off without it.',
    )
    dask_max_running_tasks: int = Field(
        256, ge=1, description="Task attempts that this process has at once in the Dask cluster."
    )
    cluster_wait_seconds: float = Field(
        0.0,
        ge=0,
        description="Time a request that no machine of the cluster can satisfy waits for the cluster to grow, in "
        "seconds; 0 fails the task at once.",
    )
    claim_check_url: str | None = Field(
        None,
        description="Where large results of tasks and large data of events are kept (fsspec URL such as "
        "file:///mnt/results or s3://bucket/results), reachable from all nodes and workers.",
    )
    claim_check_bytes: int = Field(
        64 << 10,
        ge=1,
        description="Size above which a result made on a cluster or in a worker process goes to claim_check_url, as "
        "JSON, in bytes.",
    )
    claim_result_bytes: int = Field(
        256 << 10,
        ge=1,
        description="Size above which the result of a task that runs in this process goes to claim_check_url, where "
        "that is set, in bytes.",
    )
    dataref_bytes: int | None = Field(
        None,
        ge=1024,
        description="Size above which an event's data goes to claim_check_url, and only a reference into the log, in "
        "bytes; without it all data is in the log.",
    )

    # reloading
    reload_seconds: float = Field(
        1.0,
        ge=0,
        description="Time between two looks at the project's folders for edits, in seconds; 0 looks only when asked "
        "(`tidemill reload`).",
    )

    # telling
    log_format: Literal["console", "json"] = Field("console", description="How log lines look.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe level logged."
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _name_the_default_cluster(cls, values: Any) -> Any:
        """The default cluster's brokers stand in one place, wherever they were written."""
        clusters = values.get("kafka_clusters") if isinstance(values, dict) else None
        default = clusters.get("default") if isinstance(clusters, dict) else None
        servers = default.get("bootstrap_servers") if isinstance(default, dict) else None
        if servers is not None and values.get("kafka_bootstrap_servers") is None:
            return {**values, "kafka_bootstrap_servers": servers}
        return values

    @pydantic.model_validator(mode="after")
    def _check_clusters(self) -> Settings:
        for name, cluster in self.kafka_clusters.items():
            if name != "default" and cluster.bootstrap_servers is None:
                raise ValueError(f"kafka_clusters.{name}: bootstrap_servers is missing")
        return self

    @pydantic.model_validator(mode="after")
    def _check_pools(self) -> Settings:
        for name, pool in self.pools.items():
            if name == "default" and pool.slots is not None:
                raise ValueError("pools.default: it has no slots of its own; give tasks a pool that has")
            if name != "default" and pool.slots is None:
                raise ValueError(f"pools.{name}: slots is missing")
            if not re.fullmatch(r"[A-Za-z0-9_.-]{1,250}", name):
                raise ValueError(
                    f"pools: a name has 1 to 250 characters out of A-Z a-z 0-9 _ . -, not {name!r}"
                )
        return self

    @pydantic.model_validator(mode="after")
    def _check_claims(self) -> Settings:
        if self.dataref_bytes is not None and self.claim_check_url is None:
            raise ValueError("dataref_bytes needs claim_check_url")
        return self

    @property
    def process_limit(self) -> int:
        """Most worker processes."""
        if self.process_workers is not None:
            return self.process_workers
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def kafka_cluster(self, name: str) -> KafkaCluster | None:
        """The cluster of that name, its brokers filled in; None where there is none."""
        cluster = self.kafka_clusters.get(name)
        if name != "default":
            return cluster
        if self.kafka_bootstrap_servers is None:
            return None
        plain = cluster or KafkaCluster()
        return plain.model_copy(update={"bootstrap_servers": self.kafka_bootstrap_servers})


def load(project: Path, **overrides: Any) -> Settings:
    """The settings of the project folder; `overrides` (None: not given) win over file and environment.

    Raises `SettingsError` that names every wrong setting.
    """
    path = project / "tidemill.toml"
    values: dict[str, Any] = {}
    if path.is_file():
        try:
            values = tomllib.loads(path.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path.name}: {error}") from error
    try:
        environment = Settings.model_validate({}).model_dump(exclude_unset=True)
        given = {name: value for name, value in overrides.items() if value is not None}
        return Settings(**{**values, **environment, **given})
    except pydantic.ValidationError as error:
        problems = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise SettingsError("; ".join(problems)) from error
