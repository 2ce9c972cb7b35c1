"""Every file under deploy/ is read by a parser, and what it names is compared with the program."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from gateway.cli.root import COMMANDS
from gateway.observability.figures import figures_of
from gateway.observability.metrics import Metrics
from gateway.settings import load_settings

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
COMPOSED = sorted(DEPLOY.glob("compose*.yaml"))


def documents(path: Path) -> list[Any]:
    return list(YAML(typ="safe", pure=True).load_all(path.read_text(encoding="utf-8")))


def compose(*names: str) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for name in names:
        [found] = documents(DEPLOY / name)
        merged.update(found["services"])
    return merged


PARSED = [each for each in FILES if each.suffix in (".yaml", ".json")]


@pytest.mark.parametrize("path", PARSED, ids=lambda each: each.name)
def test_it_parses(path: Path) -> None:
    assert json.loads(path.read_text()) if path.suffix == ".json" else all(documents(path))


@pytest.mark.parametrize("path", FILES, ids=lambda each: each.name)
def test_variables_and_keys_are_known_to_the_program(path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for name in set(re.findall(r"GATEWAY__[A-Z_]+", text)):
        keys = name.split("__")[1:]
        shown = load_settings(None, {"HOME": str(tmp_path)}).settings.model_dump()
        for key in keys:
            assert key.lower() in shown, name
            shown = shown[key.lower()]
    commented = re.search(r"(?m)^#   server:\n((?:#     .*\n)+)", text)
    if commented:
        file = tmp_path / "c.yaml"
        file.write_text("server:\n" + commented[1].replace("#", "").replace("     ", "  "))
        assert load_settings(file, {"HOME": str(tmp_path)}).settings.server.tls_terminated_by_proxy


@pytest.mark.parametrize("path", FILES, ids=lambda each: each.name)
def test_commands_exist(path: Path) -> None:
    for word in re.findall(r"gateway gateway ([a-z]+)|-- gateway ([a-z]+)|next: \"gateway ([a-z]+)", path.read_text()):
        assert "".join(word) in COMMANDS


def test_the_environment_of_the_compose_file_is_a_configuration(tmp_path: Path) -> None:
    service = compose("compose.yaml")["gateway"]
    environ = {
        name: re.sub(r"\$\{DOMAIN:\?[^}]*\}", "chat.example", value) for name, value in service["environment"].items()
    }
    environ = {name: "" if "${" in value else value for name, value in environ.items()}
    loaded = load_settings(None, {**environ, "HOME": str(tmp_path)})
    assert loaded.settings.server.trusted_proxies == ["127.0.0.1", "::1"]
    assert loaded.settings.server.allowed_origins == ["https://chat.example"]
    assert loaded.settings.server.host == "127.0.0.1" and not loaded.settings.models
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    seconds = int(service["stop_grace_period"].removesuffix("s"))
    assert seconds > loaded.settings.limits.drain_seconds


@pytest.mark.parametrize("path", COMPOSED, ids=lambda each: each.name)
def test_volumes_and_files_of_compose_exist(path: Path) -> None:
    [found] = documents(path)
    for service in found["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in found["volumes"], volume


def test_kubernetes(tmp_path: Path) -> None:
    found = {each["kind"]: each for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")) for each in documents(path)}
    file = tmp_path / "gateway.yaml"
    file.write_text(found["ConfigMap"]["data"]["gateway.yaml"])
    settings = load_settings(file, {"HOME": str(tmp_path)}).settings
    pod = found["StatefulSet"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] and container["securityContext"]["readOnlyRootFilesystem"]
    assert pod["terminationGracePeriodSeconds"] > settings.limits.drain_seconds
    assert container["ports"][0]["containerPort"] == settings.server.port
    assert {container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "readiness", "liveness")} == {
        "/ready", "/health"
    }  # fmt: skip
    assert {each["name"] for each in pod["volumes"]} | {"state"} == {each["name"] for each in container["volumeMounts"]}
    backend = found["Ingress"]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": found["Service"]["metadata"]["name"], "port": {"name": "http"}}


def known_metrics() -> set[str]:
    metrics = Metrics()
    status = {
        "queues": {}, "hub": {"replay_bytes": 0, "sessions": 0}, "models": [{"name": "m"}],
        "channels": {"telegram": {"state": "off"}}, "uptime_seconds": 1, "ready": True, "connections": 0,
    }  # fmt: skip
    metrics.offer(lambda: figures_of(status))
    found: set[str] = {"up"}
    for line in metrics.render().decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            found |= {name, f"{name}_bucket"} if kind == "histogram" else {name}
    return found


@pytest.mark.parametrize("name", ["prometheus/alerts.yaml", "grafana/dashboards/busgate.json"])
def test_figures_exist(name: str) -> None:
    if name.endswith("json"):
        panels = json.loads((DEPLOY / name).read_text())["panels"]
        expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    else:
        [found] = documents(DEPLOY / name)
        expressions = [rule["expr"] for rule in found["groups"][0]["rules"]]
    used = {word for text in expressions for word in re.findall(r"\b(?:gateway|process)_[a-z_]+", text)}
    assert len(used) > 6 and used <= known_metrics(), used - known_metrics()


def test_the_image_is_built_from_the_tree_by_the_lock() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    sources = [word for line in re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", text) for word in line.split()]
    assert sources and all((ROOT / word).exists() for word in sources)
    shipped = (ROOT / ".dockerignore").read_text().splitlines()
    assert all(f"!{word}" in shipped for word in sources)
    assert "--require-hashes" in text and "\nUSER 10001" in text and "HEALTHCHECK" in text
    for path in FILES:
        for image in re.findall(r"(?m)(?:^FROM|image:) (\S+)", path.read_text()):
            assert "/" not in image or "." not in image.split("/")[0], f"{path.name}: {image} names a registry"


def test_nginx_and_caddy_agree() -> None:
    for name in ("nginx.conf", "Caddyfile"):
        text = (DEPLOY / name).read_text()
        assert text.count("{") == text.count("}") and "127.0.0.1:8080" in text and "/metrics" in text
