"""Checks of Dockerfile and docker-compose.yml that need no Docker. compose.sh checks the running containers."""

import json
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from app.settings import PREFIX, Settings
from tests.benchmarks.http_server import stub_server
from tests.conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
DOCKERIGNORE = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
SETTINGS = {PREFIX + name.upper() for name in Settings.model_fields}

UNCOMMENTED = re.sub(r"(^|\s)#.*$", "", COMPOSE, flags=re.MULTILINE)
SERVICES = dict(re.findall(r"^  (\w+):\n((?:    .*\n|\s*\n)+)", UNCOMMENTED.partition("\nservices:")[2], re.MULTILINE))


def test_hadolint_accepts_the_dockerfile() -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"  # a development requirement
    result = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


def test_dockerfile_last_target_is_serve() -> None:
    targets = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
    assert targets[-1] == "serve"
    assert {"train", "gpu"} <= set(targets)


def test_dockerfile_copies_only_existing_files() -> None:
    copied = re.findall(r"^COPY (?!--)(\S+) ", DOCKERFILE, re.MULTILINE)
    requirements = re.findall(r"REQUIREMENTS=(\w+)", DOCKERFILE)
    assert len(requirements) == 2  # the default, and the one in a comment
    sources = {path.replace("${REQUIREMENTS}", each) for path in copied for each in requirements}
    assert sources == {path.removeprefix("!") for path in DOCKERIGNORE if path.startswith("!")}
    assert all((ROOT / source).exists() for source in sources)


def test_docker_files_use_known_settings() -> None:
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]+", DOCKERFILE + COMPOSE))
    assert named
    assert named <= SETTINGS


def test_image_does_not_allow_access_without_keys() -> None:
    assert f"{PREFIX}HOST=0.0.0.0" in DOCKERFILE
    assert f"{PREFIX}ALLOW_PUBLIC_WITHOUT_KEYS" not in DOCKERFILE


@pytest.mark.parametrize("status", [200, 503])
def test_health_check_uses_the_configured_port_and_no_proxy(status: int) -> None:
    [command] = re.findall(r"^HEALTHCHECK (?:.*\\\n)? +CMD (\[.*\])$", DOCKERFILE.replace("; \\\n", "; "), re.MULTILINE)
    python, *arguments = json.loads(command)
    assert python == "python"
    with stub_server(lambda _: (status, {})) as url:
        environment = {f"{PREFIX}PORT": url.rpartition(":")[2], "HTTP_PROXY": "http://127.0.0.1:1"}
        environment["http_proxy"] = environment["HTTP_PROXY"]
        result = subprocess.run([sys.executable, *arguments], env=environment, timeout=60, check=False)
    assert (result.returncode == 0) == (status == 200)


def test_services_have_their_profiles() -> None:
    profiles = {name: re.findall(r"^    profiles: \[(\w+)\]$", text, re.MULTILINE) for name, text in SERVICES.items()}
    assert profiles == {
        "serve": [],
        "train": ["train"],
        "prometheus": ["observability"],
        "grafana": ["observability"],
    }


@pytest.mark.parametrize("service", SERVICES)
def test_service_is_confined_and_limited(service: str) -> None:
    [confined] = re.findall(r"^x-confined: &confined\n((?:  .*\n)+)", UNCOMMENTED, re.MULTILINE)
    assert confined.splitlines() == [
        "  read_only: true",
        "  cap_drop: [ALL]",
        '  security_opt: ["no-new-privileges:true"]',
    ]
    text = SERVICES[service]
    assert "    <<: *confined\n" in text
    assert not re.search(r"^    (read_only|cap_drop|cap_add|security_opt|privileged):", text, re.MULTILINE)
    for limit in ("mem_limit", "pids_limit"):
        assert re.search(rf"^    {limit}: [1-9]", text, re.MULTILINE)


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "train"])
def test_port_is_published_on_loopback_only(service: str) -> None:
    published = re.findall(r'"([^"]+:\d+)"', SERVICES[service].partition("ports:")[2].partition("volumes:")[0])
    assert len(published) == 1
    assert published[0].startswith("127.0.0.1:")


def test_training_has_no_network_and_alone_may_write_models() -> None:
    assert "ports:" not in SERVICES["train"]
    assert "    network_mode: none\n" in SERVICES["train"]
    assert "      - {<<: *models, read_only: false}\n" in SERVICES["train"]
    [mount] = re.findall(r"- &models\n((?:        .*\n)+)", SERVICES["serve"])
    assert "        read_only: true\n" in mount


@pytest.mark.parametrize("service", ["prometheus", "grafana"])
def test_third_party_image_is_pinned_and_its_files_exist(service: str) -> None:
    assert re.search(r"^    image: [\w/]+:v?\d+\.\d+\.\d+$", SERVICES[service], re.MULTILINE)
    mounted = re.findall(r"^      - \./(\S+?):\S+:ro$", SERVICES[service], re.MULTILINE)
    assert mounted
    assert all((ROOT / path).exists() for path in mounted)
