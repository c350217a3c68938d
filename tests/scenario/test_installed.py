"""The package as a user installs it: from a wheel, away from the checkout."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The bin directory of a fresh venv that has the wheel and sees this one's dependencies."""
    directory = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (directory / "dist").glob("*.whl")
    venv.create(directory / "venv")
    purelib = next((directory / "venv" / "lib").glob("python*/site-packages"))
    here = subprocess.run(
        [sys.executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    purelib.joinpath("dependencies.pth").write_text(f"{here}\n")
    pip = [sys.executable, "-m", "pip", f"--python={directory / 'venv/bin/python'}", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    return directory / "venv" / "bin"


def run(command: list[str], cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_twistd_lists_kumo(installed: Path, tmp_path) -> None:
    """`twistd --help` names the kumo command, outside the checkout too."""
    python = str(installed / "python")
    text = run(
        [python, "-c", "import sys; sys.argv = ['twistd', '--help']; import twisted.scripts.twistd as t; t.run()"],
        tmp_path,
    )
    assert "kumo " in text
    where = run([python, "-c", "import kumotwist; print(kumotwist.__file__)"], tmp_path)
    assert where.startswith(str(installed.parent))


def test_the_console_script_checks_a_policy(installed: Path, tmp_path) -> None:
    """`kumotwist validate` works from the wheel: the Lua that we ship is in it."""
    policy = tmp_path / "init.lua"
    policy.write_text(
        "local kumo = require 'kumo'\nrequire 'policy-extras.policy_utils'\nkumo.on('init', function() end)\n"
    )
    run([str(installed / "kumotwist"), "validate", "--policy", str(policy)], tmp_path)
