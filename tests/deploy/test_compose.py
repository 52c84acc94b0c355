from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from tests.deploy.images import instructions
from tests.deploy.queries import PROMETHEUS, ROOT
from tests.deploy.variables import variables

COMPOSE = ROOT / "docker-compose.yml"
FILES = [COMPOSE, ROOT / "compose.gpu.yml"]


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_it_keeps_to_the_schema_of_the_compose_specification(file: Any) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_wrong_key_would_be_found(tmp_path: Any) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(COMPOSE.read_text().replace("stop_grace_period:", "stop_graze_period:"))
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, wrong], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "stop_graze_period" in done.stdout


def test_every_variable_is_in_the_example_with_the_same_default() -> None:
    told = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.M))
    used = re.findall(r"\$\{([A-Z_]+):[-?]([^}]*)\}", COMPOSE.read_text())
    assert {name for name, _ in used} == told.keys()
    assert {name: default for name, default in used if name != "GRAFANA_PASSWORD"} == {
        name: value for name, value in told.items() if name != "GRAFANA_PASSWORD"
    }


def test_volumes_are_declared_and_files_are_there() -> None:
    declared = set(yaml.safe_load(COMPOSE.read_text())["volumes"])
    used = set()
    for service in services().values():
        for mount in service.get("volumes", ()):
            source = mount.partition(":")[0]
            if source.startswith("."):
                assert (ROOT / source).is_dir()
            else:
                used.add(source)
    assert used == declared


def test_variables_of_the_processes_are_settings() -> None:
    text = "".join(file.read_text() for file in FILES)
    named = set(re.findall(r"(GLIMPSE_(?:EDGE|CLOUD)_\w+):", text))
    assert named
    assert named <= variables()


def test_who_talks_to_whom() -> None:
    """Names, ports and paths that stand in two files."""
    all_services = services()
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    (target,) = config["scrape_configs"][0]["static_configs"][0]["targets"]
    env = dict(
        part.split("=", 1)
        for word, rest in instructions(ROOT / "deploy" / "cloud.Dockerfile")
        if word == "ENV"
        for part in rest.split()
    )
    assert target == "cloud:" + env["GLIMPSE_CLOUD_METRICS_LISTEN"].rpartition(":")[2]
    edge = all_services["edge"]["environment"]
    assert edge["GLIMPSE_EDGE_SERVER"] == "cloud:" + env["GLIMPSE_CLOUD_LISTEN"].rpartition(":")[2]
    first = all_services["first-start"]["environment"]
    assert first["HOSTS"].split()[0] == "cloud"
    assert edge["GLIMPSE_EDGE_TOKEN_FILE"].endswith(f"/{edge['GLIMPSE_EDGE_CAMERA']}.token")
    assert first["CAMERA"] == edge["GLIMPSE_EDGE_CAMERA"]
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/glimpse.yml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in all_services
    (boards,) = yaml.safe_load((provisioning / "dashboards/glimpse.yml").read_text())["providers"]
    mounts = all_services["grafana"]["volumes"]
    assert f"./deploy/grafana/dashboards:{boards['options']['path']}:ro" in mounts


def test_what_talks_to_the_world_is_confined() -> None:
    for name, service in services().items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name


def test_nothing_is_open_to_others_unless_asked() -> None:
    for service in services().values():
        for port in service.get("ports", ()):
            assert re.match(r"\$\{\w+_LISTEN:-127\.0\.0\.1:\d+\}:\d+$", port)
