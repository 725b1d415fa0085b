"""Packaging: wheel builds are rejected, and clones keep artifacts byte for byte."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import MODELS, ROOT
from tests.external_tools import require_tool

BUILD_SYSTEM = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]
HOOKS = [
    *("build_wheel", "build_editable", "build_sdist"),
    *("get_requires_for_build_wheel", "get_requires_for_build_editable", "get_requires_for_build_sdist"),
    *("prepare_metadata_for_build_wheel", "prepare_metadata_for_build_editable"),
]


def test_build_backend_requires_nothing() -> None:
    assert BUILD_SYSTEM == {"requires": [], "build-backend": "build_backend", "backend-path": ["."]}


@pytest.mark.parametrize("hook", HOOKS)
def test_build_hook_fails_and_suggests_the_alternative(hook: str) -> None:
    backend = importlib.import_module(BUILD_SYSTEM["build-backend"])
    with pytest.raises(SystemExit, match="cannot be installed as a package") as caught:
        getattr(backend, hook)("anywhere", config_settings={})
    assert "make serve" in str(caught.value)


def test_failed_build_prints_no_traceback() -> None:
    command = [sys.executable, "-c", "import build_backend; build_backend.build_wheel('anywhere')"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 1
    assert result.stderr.startswith("Pricecast cannot be installed")
    assert "Traceback" not in result.stderr


def test_failed_build_suggests_existing_make_targets() -> None:
    message = importlib.import_module("build_backend").MESSAGE
    targets = set(re.findall(r"\bmake (\S+)", message))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets == {"serve", ".venv/train"}
    assert re.search(r"^serve:", makefile, re.MULTILINE)
    assert re.search(r"^\.venv/%:", makefile, re.MULTILINE)
    assert (ROOT / "requirements" / "train.txt").exists()


def test_checkout_with_autocrlf_keeps_artifacts_and_lf(tmp_path: Path) -> None:
    """Git for Windows sets core.autocrlf, which would change the digest of every text file of an artifact."""
    repository, checkout = tmp_path / "repository", tmp_path / "checkout"
    shutil.copytree(MODELS, repository / "models")
    shutil.copy(ROOT / ".gitattributes", repository)
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}

    def git(*arguments: str) -> None:
        command = [require_tool("git"), "-C", str(repository), "-c", "core.autocrlf=true", *arguments]
        subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60)

    git("init")
    git("add", ".")
    git("checkout-index", "--all", f"--prefix={checkout}/")
    files = {path.relative_to(MODELS) for path in MODELS.rglob("*") if path.is_file()}
    assert {
        path.relative_to(checkout / "models") for path in (checkout / "models").rglob("*") if path.is_file()
    } == files
    for file in files:
        assert (checkout / "models" / file).read_bytes() == (MODELS / file).read_bytes(), file
    assert b"\r" not in (checkout / ".gitattributes").read_bytes()
