"""Dockerfile and compose file, as far as they can be judged without Docker; compose.sh beside this judges the rest."""

import json
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from app.settings import PREFIX, Settings
from tests.benchmarks.http_server import stub_server
from tests.server_process import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
SENT_TO_DOCKER = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
SETTINGS = {PREFIX + name.upper() for name in Settings.model_fields}

UNCOMMENTED = re.sub(r"(^|\s)#.*$", "", COMPOSE, flags=re.MULTILINE)
SERVICES = dict(re.findall(r"^  (\w+):\n((?:    .*\n|\s*\n)+)", UNCOMMENTED.partition("\nservices:")[2], re.MULTILINE))


def test_hadolint_has_no_complaint_about_the_dockerfile() -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"  # a development requirement
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_last_target_is_the_one_that_serves() -> None:
    targets = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
    assert targets[-1] == "serve"
    assert {"train", "gpu"} <= set(targets)


def test_what_the_dockerfile_copies_is_there_and_is_sent() -> None:
    copied = re.findall(r"^COPY (?!--)(\S+) ", DOCKERFILE, re.MULTILINE)
    requirements = re.findall(r"REQUIREMENTS=(\w+)", DOCKERFILE)
    assert len(requirements) == 2  # the default, and the one that a comment tells of
    sources = {path.replace("${REQUIREMENTS}", each) for path in copied for each in requirements}
    assert sources == {path.removeprefix("!") for path in SENT_TO_DOCKER if path.startswith("!")}
    assert all((ROOT / source).exists() for source in sources)


def test_each_setting_that_they_name_exists() -> None:
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]+", DOCKERFILE + COMPOSE))
    assert named
    assert named <= SETTINGS


def test_the_image_does_not_let_everyone_in_by_itself() -> None:
    assert f"{PREFIX}HOST=0.0.0.0" in DOCKERFILE
    assert f"{PREFIX}ALLOW_PUBLIC_WITHOUT_KEYS" not in DOCKERFILE


@pytest.mark.parametrize("status", [200, 503])
def test_the_image_s_health_is_asked_where_it_listens_and_by_no_proxy(status: int) -> None:
    [command] = re.findall(r"^HEALTHCHECK (?:.*\\\n)? +CMD (\[.*\])$", DOCKERFILE.replace("; \\\n", "; "), re.MULTILINE)
    python, *arguments = json.loads(command)
    assert python == "python"
    with stub_server(lambda _: (status, {})) as url:
        environment = {f"{PREFIX}PORT": url.rpartition(":")[2], "HTTP_PROXY": "http://127.0.0.1:1"}
        environment["http_proxy"] = environment["HTTP_PROXY"]
        done = subprocess.run([sys.executable, *arguments], env=environment, timeout=60, check=False)
    assert (done.returncode == 0) == (status == 200)


def test_the_services_are_those_of_the_design() -> None:
    profiles = {name: re.findall(r"^    profiles: \[(\w+)\]$", text, re.MULTILINE) for name, text in SERVICES.items()}
    assert profiles == {
        "serve": [],
        "train": ["train"],
        "prometheus": ["observability"],
        "grafana": ["observability"],
    }


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_is_confined_and_limited(service: str) -> None:
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
def test_each_port_is_published_to_this_machine_only(service: str) -> None:
    published = re.findall(r'"([^"]+:\d+)"', SERVICES[service].partition("ports:")[2].partition("volumes:")[0])
    assert len(published) == 1
    assert published[0].startswith("127.0.0.1:")


def test_training_reaches_no_network_and_only_training_may_write_models() -> None:
    assert "ports:" not in SERVICES["train"]
    assert "    network_mode: none\n" in SERVICES["train"]
    assert "      - {<<: *models, read_only: false}\n" in SERVICES["train"]
    [mount] = re.findall(r"- &models\n((?:        .*\n)+)", SERVICES["serve"])
    assert "        read_only: true\n" in mount


@pytest.mark.parametrize("service", ["prometheus", "grafana"])
def test_images_of_others_are_pinned_and_their_files_are_there(service: str) -> None:
    assert re.search(r"^    image: [\w/]+:v?\d+\.\d+\.\d+$", SERVICES[service], re.MULTILINE)
    mounted = re.findall(r"^      - \./(\S+?):\S+:ro$", SERVICES[service], re.MULTILINE)
    assert mounted
    assert all((ROOT / path).exists() for path in mounted)
