"""The daemon's command line."""

from __future__ import annotations

import os

import pytest
from twisted.python.usage import UsageError

from kumotwist.core.errors import ConfigError
from kumotwist.service import lifecycle
from kumotwist.service.diagnostics import Filter
from kumotwist.service.options import Options, Settings
from kumotwist.spool.shards import SHARDS


def parse(*words: str) -> Settings:
    options = Options()
    options.parseOptions(list(words))
    return options.settings


def test_defaults() -> None:
    """Without options: KumoMTA's policy path, one worker per core."""
    settings = parse()
    assert settings.policy == "/opt/kumomta/etc/policy/init.lua"
    assert settings.workers == min(len(os.sched_getaffinity(0)), SHARDS)


def test_a_large_machine_starts_without_options(monkeypatch) -> None:
    """There are never more workers than the spool has shards for."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(128)))
    assert parse().workers == SHARDS


def test_paths_become_absolute_and_settings_travel(tmp_path, monkeypatch) -> None:
    """A worker process gets exactly what the supervisor was told, wherever it runs."""
    monkeypatch.chdir(tmp_path)
    settings = parse("--policy", "a.lua", "--state-dir=s", "--workers", "3", "--script", "--", "x", "y")
    assert settings.policy == str(tmp_path / "a.lua")
    assert settings.script_args == ("x", "y")
    assert Settings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize(
    "words", [["--workers=-1"], ["--workers=many"], ["--workers=17"], ["--shutdown-timeout=soon"], ["stray"]]
)
def test_wrong_values_are_refused(words: list[str]) -> None:
    """A slip on the command line ends the start with a message, not with a surprise."""
    with pytest.raises(UsageError):
        parse(*words)


@pytest.mark.parametrize(
    ("spec", "namespace", "level", "passes"),
    [
        (None, "kumotwist.queue", "info", True),
        (None, "kumotwist.queue", "debug", False),
        (None, "twisted.web", "info", False),
        ("debug", "kumotwist.queue", "debug", True),
        ("warn,kumotwist.queue=debug", "kumotwist.queue.manager", "debug", True),
        ("warn,kumotwist.queue=debug", "kumotwist.spool", "info", False),
        ("kumod=info,config=info,lua=info", "kumotwist.spool", "info", True),
    ],
)
def test_log_filter(spec: str | None, namespace: str, level: str, passes: bool) -> None:
    """KUMOD_LOG chooses levels by module; KumoMTA's own filters do no harm."""
    from twisted.logger import LogLevel

    event = {"log_namespace": namespace, "log_level": LogLevel.lookupByName(level)}
    assert Filter.parse(spec).passes(event) is passes


def test_log_filter_names_the_wrong_level() -> None:
    """A misspelt level is said, not ignored."""
    with pytest.raises(ConfigError, match="unknown level 'loud'"):
        Filter.parse("kumotwist=loud")


def test_unknown_user() -> None:
    """--user with a name that does not exist is refused before anything is bound."""
    with pytest.raises(ConfigError, match="no such user"):
        lifecycle.ids_of("nobody-of-that-name")
