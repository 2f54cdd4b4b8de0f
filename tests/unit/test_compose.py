"""compose.yaml is valid Compose, safe by default, and names settings that exist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from tidemill.settings import Settings

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "tests" / "data" / "compose-spec" / "compose-spec.json"
PREFIX = "TIDEMILL_"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    return loaded


@pytest.fixture(scope="module")
def schema() -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(json.loads(SCHEMA.read_bytes()))


def test_compose_follows_the_specification(compose: dict[str, Any], schema: jsonschema_rs.Validator) -> None:
    assert [error.message for error in schema.iter_errors(compose)] == []


def test_specification_finds_a_misspelt_condition(
    compose: dict[str, Any], schema: jsonschema_rs.Validator
) -> None:
    wrong = json.loads(json.dumps(compose))

    wrong["services"]["tidemill"]["depends_on"]["kafka"]["condition"] = "service_healty"

    assert not schema.is_valid(wrong)


def test_every_setting_named_exists(compose: dict[str, Any]) -> None:
    names = [name for name in compose["services"]["tidemill"]["environment"] if name.startswith(PREFIX)]

    assert names
    assert {name.removeprefix(PREFIX).lower() for name in names} <= set(Settings.model_fields)


def test_values_are_settings(compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in compose["services"]["tidemill"]["environment"].items():
        monkeypatch.setenv(name, str(value))

    settings = Settings()

    assert settings.kafka_bootstrap_servers == "kafka:19092"


def test_images_are_pinned(compose: dict[str, Any]) -> None:
    images = {name: service["image"] for name, service in compose["services"].items()}

    assert images["kafka"] == "apache/kafka:4.1.0"
    assert images["postgres"].startswith("postgres:17.")
    assert all(image.count(":") == 1 and not image.endswith(":latest") for image in images.values())


def test_ports_are_on_loopback(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_stays_up_tells_its_health(compose: dict[str, Any]) -> None:
    staying = [service for service in compose["services"].values() if service.get("restart") != "no"]

    assert staying
    assert all("healthcheck" in service for service in staying)


def test_what_must_be_healthy_can_tell(compose: dict[str, Any]) -> None:
    services = compose["services"]

    waited = [
        (name, on["condition"])
        for service in services.values()
        for name, on in service.get("depends_on", {}).items()
    ]

    assert ("kafka", "service_healthy") in waited
    assert all("healthcheck" in services[name] for name, how in waited if how == "service_healthy")


def test_volumes_and_secrets_used_are_declared(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        named = [volume.split(":")[0] for volume in service.get("volumes", [])]
        assert {name for name in named if not name.startswith(".")} <= set(compose["volumes"])
        assert set(service.get("secrets", [])) <= set(compose["secrets"])


def test_no_secret_is_written_down(compose: dict[str, Any]) -> None:
    token = compose["services"]["tidemill"]["environment"]["TIDEMILL_API_TOKEN"]

    assert token.startswith("${TIDEMILL_API_TOKEN:?")
    assert "POSTGRES_PASSWORD" not in compose["services"]["postgres"]["environment"]


def test_image_runs_as_nobody_special() -> None:
    lines = (ROOT / "Dockerfile").read_text("utf-8").splitlines()

    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]

    assert users == ["10001:10001"]
    assert all(base.startswith("python:3.11.") for base in bases)


def test_image_has_the_example_project() -> None:
    copied = [
        line.split()[1] for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines() if "COPY" in line
    ]

    assert {"workflows", "triggers", "schemas"} <= set(copied)
