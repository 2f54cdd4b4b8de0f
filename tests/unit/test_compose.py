"""compose.yaml is valid Compose, safe by default, names settings that exist, and makes one fleet of its nodes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from tidemill.settings import Settings

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "tests" / "data" / "compose-spec" / "compose-spec.json"
PREFIX = "TIDEMILL_"
NODES = ("node-1", "node-2", "node-3")
#: Services that run our image.
OURS = (*NODES, "single", "ray-head", "ray-worker")
#: Users that images of others have by themselves and that are not root.
OTHERS = {"proxy": "haproxy", "postgres": "999:999", "kafka": "appuser", "topics": "appuser"}

Compose = dict[str, Any]


@pytest.fixture(scope="module")
def compose() -> Compose:
    loaded: Compose = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    return loaded


@pytest.fixture(scope="module")
def schema() -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(json.loads(SCHEMA.read_bytes()))


def test_compose_follows_the_specification(compose: Compose, schema: jsonschema_rs.Validator) -> None:
    assert [error.message for error in schema.iter_errors(compose)] == []


def test_specification_finds_a_misspelt_condition(compose: Compose, schema: jsonschema_rs.Validator) -> None:
    wrong = json.loads(json.dumps(compose))

    wrong["services"]["node-1"]["depends_on"]["kafka"]["condition"] = "service_healty"

    assert not schema.is_valid(wrong)


# ── settings ──


@pytest.mark.parametrize("name", [*NODES, "single"])
def test_every_setting_named_exists(compose: Compose, name: str) -> None:
    names = [name for name in compose["services"][name]["environment"] if name.startswith(PREFIX)]

    assert names
    assert {name.removeprefix(PREFIX).lower() for name in names} <= set(Settings.model_fields)


def test_values_of_one_process_are_settings(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _settings(compose, "single", monkeypatch)

    assert settings.kafka_bootstrap_servers == "kafka:19092"
    assert settings.database.startswith("sqlite:")


@pytest.mark.parametrize("name", NODES)
def test_values_of_nodes_are_settings(compose: Compose, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _settings(compose, name, monkeypatch)

    assert settings.database == "postgresql://tidemill@postgres:5432/tidemill"
    assert settings.kafka_bootstrap_servers == "kafka:19092"
    assert settings.ray_address == "ray://ray-head:10001"
    assert settings.port == 7070


def test_grace_to_stop_is_longer_than_draining_takes(compose: Compose) -> None:
    drain = Settings.model_fields["drain_seconds"].default

    graces = [compose["services"][name]["stop_grace_period"] for name in (*NODES, "single")]

    assert all(int(grace.removesuffix("s")) > drain for grace in graces)


# ── one fleet ──


def test_nodes_differ_by_their_names_alone(compose: Compose) -> None:
    def without_name(name: str) -> Any:
        return json.loads(json.dumps(compose["services"][name]).replace(name, "NODE"))

    first, *others = map(without_name, NODES)

    assert all(other == first for other in others)


def test_nodes_are_one_project_under_names_of_their_own(compose: Compose) -> None:
    environments = [compose["services"][name]["environment"] for name in NODES]

    assert [each["TIDEMILL_NODE_NAME"] for each in environments] == list(NODES)
    assert [each["TIDEMILL_HOST"] for each in environments] == list(NODES)
    assert [compose["services"][name]["hostname"] for name in NODES] == list(NODES)
    assert len({each["TIDEMILL_PROJECT_NAME"] for each in environments}) == 1


def test_nodes_and_the_single_process_watch_the_same_folder(compose: Compose) -> None:
    watched = {
        volume
        for name in (*NODES, "single")
        for volume in compose["services"][name]["volumes"]
        if "inbox" in volume
    }

    assert watched == {"./inbox:/srv/project/inbox:ro"}


def test_proxy_knows_every_node_and_asks_whether_it_is_ready(compose: Compose) -> None:
    text = compose["configs"]["proxy"]["content"]

    assert re.findall(r"^ *server (\S+) (\S+)$", text, re.MULTILINE) == [
        (name, f"{name}:7070") for name in NODES
    ]
    assert "uri /health/ready" in text
    assert "$" not in text  # Compose would put variables there
    assert set(compose["services"]["proxy"]["depends_on"]) == set(NODES)


def test_topic_has_a_partition_for_each_node(compose: Compose) -> None:
    command = compose["services"]["topics"]["command"]

    assert int(command[command.index("--partitions") + 1]) >= len(NODES)


def test_ray_is_off_unless_asked_for_and_has_the_versions_of_the_nodes(compose: Compose) -> None:
    services = compose["services"]
    ray = {name for name, service in services.items() if service.get("profiles") == ["ray"]}

    assert ray == {"ray-head", "ray-worker"}
    assert len({services[name]["image"] for name in (*ray, *NODES)}) == 1
    assert all(services[name]["environment"]["RAY_AUTH_MODE"] == "token" for name in (*ray, *NODES))
    assert not any(services[name].get("ports") for name in ray)


def test_single_process_is_off_unless_asked_for(compose: Compose) -> None:
    assert compose["services"]["single"]["profiles"] == ["single"]
    assert set(compose["services"]["single"]["depends_on"]) == {"kafka", "topics"}


# ── safe by default ──


def test_images_are_pinned(compose: Compose) -> None:
    images = {name: service["image"] for name, service in compose["services"].items()}

    assert images["kafka"] == images["topics"] == "apache/kafka:4.1.0"
    assert images["postgres"].startswith("postgres:17.")
    assert all(re.fullmatch(r"[a-z/]+:\d+\.\d+(\.\d+)?[\w.-]*", image) for image in images.values()), images


def test_ports_are_on_loopback(compose: Compose) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_stays_up_tells_its_health(compose: Compose) -> None:
    staying = [service for service in compose["services"].values() if service.get("restart") != "no"]

    assert staying
    assert all("healthcheck" in service for service in staying)


def test_what_must_be_healthy_can_tell(compose: Compose) -> None:
    services = compose["services"]

    waited = {
        (name, on["condition"])
        for service in services.values()
        for name, on in service.get("depends_on", {}).items()
    }

    assert {("kafka", "service_healthy"), ("postgres", "service_healthy")} <= waited
    assert all("healthcheck" in services[name] for name, how in waited if how == "service_healthy")
    assert all(services[name]["restart"] == "no" for name, how in waited if how.endswith("successfully"))


def test_volumes_secrets_and_configs_used_are_declared(compose: Compose) -> None:
    for service in compose["services"].values():
        named = [volume.split(":")[0] for volume in service.get("volumes", [])]
        assert {name for name in named if not name.startswith(".")} <= set(compose["volumes"])
        assert set(service.get("secrets", [])) <= set(compose["secrets"])
        assert {config["source"] for config in service.get("configs", [])} <= set(compose["configs"])


def test_state_is_on_named_volumes(compose: Compose) -> None:
    kept = {
        name: [volume.split(":")[0] for volume in compose["services"][name]["volumes"]]
        for name in ("postgres", "kafka", "single")
    }

    assert kept == {"postgres": ["postgres"], "kafka": ["kafka"], "single": ["state", "./inbox"]}


def test_secrets_are_files_in_a_folder_that_git_ignores(compose: Compose) -> None:
    ignored = (ROOT / ".gitignore").read_text("utf-8").splitlines()

    assert {name: secret["file"] for name, secret in compose["secrets"].items()} == {
        name: f"./.tidemill/secrets/{name}" for name in ("api_token", "postgres_password", "ray_token")
    }
    assert ".tidemill/" in ignored


def test_no_secret_is_written_down(compose: Compose) -> None:
    for name, service in compose["services"].items():
        told = [one for one in service.get("environment", {}) if re.search(r"PASSWORD|TOKEN|SECRET", one)]
        assert all(one.endswith(("_FILE", "_PATH")) for one in told), (name, told)
        assert all("/run/secrets/" in service["environment"][one] for one in told)
        assert not re.search(r"://[^/@]+:[^/@]+@", json.dumps(service))


def test_secrets_that_are_read_are_mounted(compose: Compose) -> None:
    for name in ("proxy", *OURS, *OTHERS):
        service = compose["services"][name]
        read = set(re.findall(r"(?<!-e )/run/secrets/(\w+)", json.dumps(service)))
        if name == "single":
            read.discard("postgres_password")  # read where it is there
        assert read == set(service.get("secrets", []))


def test_nothing_runs_as_root_or_may_become_it(compose: Compose) -> None:
    services = compose["services"]

    assert set(services) == {*OURS, *OTHERS}
    assert {name: services[name].get("user") for name in OTHERS} == OTHERS
    assert not any("user" in services[name] for name in OURS)  # the image says it
    assert all(service["cap_drop"] == ["ALL"] for service in services.values())
    assert all(service["security_opt"] == ["no-new-privileges:true"] for service in services.values())


@pytest.mark.parametrize("name", [*NODES, "single"])
def test_nodes_write_only_where_they_must(compose: Compose, name: str) -> None:
    service = compose["services"][name]

    assert service["read_only"] is True
    assert "/tmp" in service["tmpfs"]
    # Compose cannot put secrets or configs of other kinds into what is read-only.
    assert all("file" in compose["secrets"][secret] for secret in service["secrets"])
    assert "configs" not in service


# ── the image ──


def test_image_runs_as_nobody_special() -> None:
    lines = (ROOT / "Dockerfile").read_text("utf-8").splitlines()

    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]

    assert users == ["10001:10001"]
    assert all(base.startswith("python:3.11.") for base in bases)


def test_memory_for_notes_belongs_to_the_user_of_the_image(compose: Compose) -> None:
    (notes,) = (one for one in compose["services"]["node-1"]["tmpfs"] if ".tidemill" in one)

    assert notes == "/srv/project/.tidemill:uid=10001,gid=10001,mode=0700"


def test_image_has_the_example_project() -> None:
    copied = [
        line.split()[1] for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines() if "COPY" in line
    ]

    assert {"workflows", "triggers", "schemas"} <= set(copied)


def test_image_has_the_extras_of_a_fleet() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")

    assert "pip install --no-cache-dir '.[postgres,ray]'" in text


def _settings(compose: Compose, name: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for variable, value in compose["services"][name]["environment"].items():
        monkeypatch.setenv(variable, str(value))
    return Settings()
