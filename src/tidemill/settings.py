"""Every setting, with its unit and default.

Read from `tidemill.toml` in the project folder, then from variables `TIDEMILL_*` (which win). Unknown names in the
file are refused.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

import pydantic
import pydantic_settings
from pydantic import Field, SecretStr

from tidemill.errors import SettingsError

__all__ = ["Settings", "load"]


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
    max_tasks_per_dag: int = Field(1000, ge=1, description="Most tasks one DAG may have.")
    max_result_bytes: int = Field(1 << 20, ge=1, description="Largest result of one task, as JSON, in bytes.")
    max_hops: int = Field(16, ge=1, description="Longest chain of runs starting runs before it is stopped.")
    max_recoveries: int = Field(
        5, ge=1, description="Process deaths a run may live through before it is failed."
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

    # Kafka
    kafka_bootstrap_servers: str | None = Field(
        None, description="Brokers as host:port,host:port; Kafka sources and sinks are off without it."
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
        description="Where large results of tasks on a cluster are kept (fsspec URL such as file:///mnt/results or "
        "s3://bucket/results), reachable from all nodes and workers.",
    )
    claim_check_bytes: int = Field(
        64 << 10,
        ge=1,
        description="Size above which a result goes to claim_check_url, as JSON, in bytes.",
    )

    # telling
    log_format: Literal["console", "json"] = Field("console", description="How log lines look.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe level logged."
    )


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
