"""docker-compose.yml: valid, and true to the settings and the command line."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from streams.configuration import load_settings, setting_names, variable_of
from tests.deploy.commands import answer_probe, parse
from tests.deploy.files import ROOT, compose, read_yaml

SERVICES: dict[str, dict[str, Any]] = compose()["services"]
#: Folders of the user's, which Docker makes where they are missing.
USERS_FOLDERS = {"./bundles", "./data"}
OURS = ["worker", "replay"]


def test_is_valid_against_the_compose_specification() -> None:
    package = find_spec("check_jsonschema")
    if package is None or package.origin is None:
        pytest.skip("check-jsonschema, which ships the specification's JSON schema, is missing")
    path = Path(package.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.validate(read_yaml("docker-compose.yml"), schema)


def test_services_by_profile() -> None:
    profiles = {name: service.get("profiles", []) for name, service in SERVICES.items()}
    assert profiles == {
        "kafka": [],
        "redis": [],
        "worker": [],
        "replay": ["tools"],
        "prometheus": ["monitoring"],
        "grafana": ["monitoring"],
    }
    assert "version" not in compose()


def test_worker_can_be_scaled() -> None:
    assert "ports" not in SERVICES["worker"]
    assert "container_name" not in SERVICES["worker"]


@pytest.mark.parametrize("name", OURS)
def test_our_services_can_change_nothing_but_a_temporary_folder(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert all(volume.endswith(":ro") for volume in service["volumes"])


@pytest.mark.parametrize("name", OURS)
def test_waits_for_healthy_servers(name: str) -> None:
    waits = SERVICES[name]["depends_on"]
    assert waits == {each: {"condition": "service_healthy"} for each in ("kafka", "redis")}
    assert all("healthcheck" in SERVICES[each] for each in waits)


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_of_a_fixed_version(name: str) -> None:
    image = SERVICES[name]["image"]
    assert "build" in SERVICES[name] or (":" in image and not image.endswith(":latest"))


@pytest.mark.parametrize("name", SERVICES)
def test_mounts_exist(name: str) -> None:
    named = compose()["volumes"]
    for volume in SERVICES[name].get("volumes", []):
        source = volume.split(":")[0]
        assert source in named or source in USERS_FOLDERS or (ROOT / source).exists(), volume


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_to_this_machine_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", OURS)
def test_environment_names_settings(name: str) -> None:
    known = {variable_of(each) for each in setting_names()}
    assert set(SERVICES[name]["environment"]) <= known


@pytest.mark.parametrize("name", OURS)
def test_configuration_loads_with_the_environment(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in SERVICES[name]["environment"].items():
        monkeypatch.setenv(variable, str(value))
    settings = load_settings(ROOT / "config/production.toml")
    mounted = "./config/production.toml:/etc/riskstream/riskstream.toml:ro"
    assert mounted in SERVICES[name]["volumes"]
    assert settings.broker.bootstrap == "kafka:19092"
    assert settings.state.url.get_secret_value() == "redis://redis:6379/0"
    assert settings.model.bundle is None


def test_worker_is_probed_where_it_listens() -> None:
    port = load_settings(ROOT / "config/production.toml").worker.web_port
    assert SERVICES["worker"]["expose"] == [str(port)]
    *command, code = SERVICES["worker"]["healthcheck"]["test"]
    assert command == ["CMD", "python", "-c"]
    assert f":{port}/readyz" in code
    assert answer_probe(code, 200) == 0
    assert answer_probe(code, 503) != 0


def test_worker_runs_the_image_s_command() -> None:
    assert "command" not in SERVICES["worker"]
    assert "entrypoint" not in SERVICES["worker"]


def test_replay_s_command_line_exists() -> None:
    program, *arguments = SERVICES["replay"]["entrypoint"]
    parsed = parse([*arguments, "/data/history.parquet", "--speed", "60"])
    assert program == "riskstream"
    assert str(parsed["config"]) == "/etc/riskstream/riskstream.toml"


def test_kafka_s_listeners() -> None:
    environment = SERVICES["kafka"]["environment"]
    named = environment["KAFKA_LISTENERS"].split(",")
    listeners = dict(each.split("://:") for each in named)
    advertised = dict(
        each.split("://") for each in environment["KAFKA_ADVERTISED_LISTENERS"].split(",")
    )
    protocols = environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")
    assert {each.split(":")[0] for each in protocols} == set(listeners)
    assert advertised == {"INTERNAL": "kafka:19092", "EXTERNAL": "localhost:9092"}
    assert listeners["INTERNAL"] == "19092"
    assert SERVICES["kafka"]["ports"] == [f"127.0.0.1:9092:{listeners['EXTERNAL']}"]
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_kafka_and_redis_keep_what_they_have() -> None:
    data = SERVICES["kafka"]["environment"]["KAFKA_LOG_DIRS"]
    assert SERVICES["kafka"]["volumes"] == [f"kafka:{data}"]
    assert SERVICES["redis"]["volumes"] == ["redis:/data"]
    assert "--appendonly yes" in SERVICES["redis"]["command"]
    assert "--maxmemory-policy noeviction" in SERVICES["redis"]["command"]


def test_no_secret_has_a_default() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_SECURITY_ADMIN_PASSWORD"] == ""
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            assert not ("PASSWORD" in name and value), name
