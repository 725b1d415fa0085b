"""The README matches the code: its commands run, and its settings, warnings and figures are current."""

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
from tests.conftest import MODELS, ROOT, version_of
from tests.external_tools import require_tool
from tests.server_process import running_server

README = (ROOT / "README.md").read_text(encoding="utf-8")


def code_blocks(language: str) -> list[str]:
    """Return the fenced code blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make without the environment variables that would change what it does."""
    ignored = ("HOST", "PORT", "MAKEFLAGS", "MAKELEVEL")
    environment = {name: value for name, value in os.environ.items() if name not in ignored}
    return subprocess.run(
        [require_tool("make"), *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )


def test_first_25_lines_show_a_request_and_its_response() -> None:
    top = "\n".join(README.splitlines()[:25])
    assert "curl" in top
    assert '"forecast"' in top


def test_readme_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", README)) <= targets


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([], ".venv/bin/python -m app"),
        (["PORT=9000"], "PRICECAST_PORT=9000 .venv/bin/python -m app"),
        (["HOST=::1", "PORT=0"], "PRICECAST_HOST=::1 PRICECAST_PORT=0 .venv/bin/python -m app"),
    ],
)
def test_make_serve_sets_only_host_and_port_if_given(arguments: list[str], command: str) -> None:
    assert make("--dry-run", "--old-file=.venv/serve", "serve", *arguments).stdout.split() == command.split()


def test_make_google_reads_the_tutorial_files_from_a_folder(tmp_path: Path) -> None:
    arguments = ["--dry-run", "--old-file=.venv/train", "google", f"GOOGLE={tmp_path}"]
    names = [f"Google_Stock_Price_{part}.csv" for part in ("Train", "Test")]
    assert all(name in README for name in (*names, "make google GOOGLE=FOLDER"))
    for name in names:
        result = make("google", f"GOOGLE={tmp_path}")
        assert result.returncode != 0
        assert f"no {tmp_path / name}: " in result.stderr
        assert "make google GOOGLE=FOLDER" in result.stderr
        (tmp_path / name).touch()
    command = make(*arguments).stdout
    assert f"--csv {tmp_path / names[0]} " in command
    assert f"--test-csv {tmp_path / names[1]} " in command


def test_settings_table_has_every_default_and_description() -> None:
    rows = re.findall(rf"^\| `{PREFIX}([A-Z_]+)` \| `([^`]*)` \| (.*) \|$", README, re.MULTILINE)
    assert rows == [
        (name.upper(), str(field.default), field.description) for name, field in Settings.model_fields.items()
    ]


@pytest.mark.parametrize("code", WARNING_CODES)
def test_warning_code_is_documented(code: str) -> None:
    assert f"`{code}`" in README


def test_readme_figures_match_shipped_models() -> None:
    for name in ("default", "tutorial"):
        manifest = store.read_version(MODELS, name, version_of(name)).manifest
        one_step = [score for score in manifest.evidence.scores if score.horizon == 1]
        [row] = [line for line in README.splitlines() if line.startswith(f"| `{name}`")]
        assert f"{np.mean([score.rmse / score.rmse_last_price for score in one_step]):.3f}" in row
        for level in {"80", "95"} & {str(level) for level in manifest.levels}:
            assert f"{np.mean([score.coverage[level] for score in one_step]):.1f}%" in row


@pytest.mark.slow
def test_curl_command_gets_the_response_shown() -> None:
    curl = require_tool("curl")
    [command] = [block for block in code_blocks("sh") if block.startswith("curl")]
    shown = json.loads(code_blocks("json")[0])
    with running_server() as (server, _):
        command = command.replace("http://127.0.0.1:8000", server.url).replace("curl", f"{curl} --noproxy '*'", 1)
        received = json.loads(subprocess.run(["sh", "-c", command], capture_output=True, check=True, timeout=60).stdout)

    def numbers(response: dict[str, object]) -> list[float]:
        return [float(number) for number in re.findall(r"\d+\.\d+", json.dumps(response))]

    np.testing.assert_allclose(numbers(shown), numbers(received), rtol=1e-4)
    assert re.sub(r"\d+\.\d+", "", json.dumps(shown)) == re.sub(r"\d+\.\d+", "", json.dumps(received))
