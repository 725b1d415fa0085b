"""The README: what it shows is run, and what it says is compared."""

import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from app.artifact import store
from app.inference.input_checks import WARNING_CODES
from app.settings import PREFIX, Settings
from tests.conftest import MODELS, version_of
from tests.external_tools import tool
from tests.server_process import ROOT, running

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What make does, and nothing that the environment says beside."""
    said = ("HOST", "PORT", "MAKEFLAGS", "MAKELEVEL")
    environment = {name: value for name, value in os.environ.items() if name not in said}
    return subprocess.run(
        [tool("make"), *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )


def test_a_request_and_its_answer_stand_within_the_first_25_lines() -> None:
    top = "\n".join(README.splitlines()[:25])
    assert "curl" in top
    assert '"forecast"' in top


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", README)) <= targets


@pytest.mark.parametrize(
    ("given", "ran"),
    [
        ([], ".venv/bin/python -m app"),
        (["PORT=9000"], "PRICECAST_PORT=9000 .venv/bin/python -m app"),
        (["HOST=::1", "PORT=0"], "PRICECAST_HOST=::1 PRICECAST_PORT=0 .venv/bin/python -m app"),
    ],
)
def test_make_serve_leaves_the_settings_be_but_for_what_is_given(given: list[str], ran: str) -> None:
    assert make("--dry-run", "--old-file=.venv/serve", "serve", *given).stdout.split() == ran.split()


def test_make_google_takes_the_folder_of_the_tutorial_s_files(tmp_path: Path) -> None:
    arguments = ["--dry-run", "--old-file=.venv/train", "google", f"GOOGLE={tmp_path}"]
    names = [f"Google_Stock_Price_{part}.csv" for part in ("Train", "Test")]
    assert all(name in README for name in (*names, "make google GOOGLE=FOLDER"))
    for name in names:
        said = make("google", f"GOOGLE={tmp_path}")
        assert said.returncode != 0
        assert f"no {tmp_path / name}: " in said.stderr
        assert "make google GOOGLE=FOLDER" in said.stderr
        (tmp_path / name).touch()
    ran = make(*arguments).stdout
    assert f"--csv {tmp_path / names[0]} " in ran
    assert f"--test-csv {tmp_path / names[1]} " in ran


def test_every_setting_is_documented_with_its_default() -> None:
    rows = dict(re.findall(rf"^\| `{PREFIX}([A-Z_]+)` \| `([^`]*)` \|", README, re.MULTILINE))
    assert rows == {name.upper(): str(field.default) for name, field in Settings.model_fields.items()}


@pytest.mark.parametrize("code", WARNING_CODES)
def test_every_code_of_a_warning_is_documented(code: str) -> None:
    assert f"`{code}`" in README


def test_the_figures_are_those_of_the_shipped_models() -> None:
    for name in ("default", "tutorial"):
        manifest = store.read_version(MODELS, name, version_of(name)).manifest
        first = [score for score in manifest.evidence.scores if score.horizon == 1]
        [row] = [line for line in README.splitlines() if line.startswith(f"| `{name}`")]
        assert f"{np.mean([score.rmse / score.rmse_last_price for score in first]):.3f}" in row
        for level in {"80", "95"} & {str(level) for level in manifest.levels}:
            assert f"{np.mean([score.coverage[level] for score in first]):.1f}%" in row


@pytest.mark.slow
def test_its_curl_gets_its_answer() -> None:
    curl = tool("curl")
    [command] = [block for block in blocks("sh") if block.startswith("curl")]
    shown = json.loads(blocks("json")[0])
    with running() as (server, _):
        command = command.replace("http://127.0.0.1:8000", server.url).replace("curl", f"{curl} --noproxy '*'", 1)
        said = json.loads(subprocess.run(["sh", "-c", command], capture_output=True, check=True, timeout=60).stdout)

    def numbers(answer: dict[str, object]) -> list[float]:
        return [float(number) for number in re.findall(r"\d+\.\d+", json.dumps(answer))]

    np.testing.assert_allclose(numbers(shown), numbers(said), rtol=1e-4)
    assert re.sub(r"\d+\.\d+", "", json.dumps(shown)) == re.sub(r"\d+\.\d+", "", json.dumps(said))
