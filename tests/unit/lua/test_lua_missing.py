"""What `kumotwist validate` tells of a policy's text: names of KumoMTA's that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from kumotwist.lua.missing import missing_names


def _told(directory: Path, source: str) -> list[str]:
    policy = directory / "policy.lua"
    policy.write_text(source)
    return [text.removeprefix(f"{directory}/").removesuffix(" but not supported by kumotwist") for text in _all(policy)]


def _all(policy: Path) -> list[str]:
    return list(missing_names(policy))


def test_functions_and_methods_that_are_not_there(tmp_path: Path) -> None:
    """Each by file and line of its first use, called or handed on: a handler that sends meets it only much later."""
    source = """
      kumo.on('make.amqp', function()
        local client = kumo.amqp.build_client 'amqp://localhost'
        local other = kumo.amqp.build_client 'amqp://localhost'
      end)
      local load = kumo.memoize(kumo.shaping.load, {})
      kumo.on('smtp_server_message_received', function(msg) msg:arc_seal { a = 1 } end)
    """
    assert _told(tmp_path, source) == [
        "policy.lua:3: kumo.amqp.build_client is known to KumoMTA",
        "policy.lua:6: kumo.shaping.load is known to KumoMTA",
        "policy.lua:7: message:arc_seal is known to KumoMTA",
    ]


@pytest.mark.parametrize(
    "source",
    [
        "kumo.configure_local_logs { log_dir = '/tmp' }",
        "if kumo.amqp then end",
        "-- kumo.amqp.build_client 'x'",
        "--[==[ kumo.amqp.build_client 'x'\n ]] msg:arc_seal() ]==]",
        'local hint = "don\'t -- kumo.amqp.build_client"',
        "local hint = [[ kumo.amqp.build_client ]]",
        "mykumo.amqp.build_client 'x'",
        "local arc_seal = 1",
    ],
)
def test_what_is_not_used(tmp_path: Path, source: str) -> None:
    """Comments, texts, other names and a question whether there is such a table say nothing."""
    assert _told(tmp_path, source) == []


def test_files_that_a_policy_requires(tmp_path: Path) -> None:
    """Modules beside it are read as well, each once, and those that are not there are no matter."""
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours/feed.lua").write_text("local policy = require('policy')\nkumo.kafka.build_producer {}\n")
    (tmp_path / "other.lua").write_text("kumo.kafka.build_producer {}\n")
    source = "local feed, gone = require 'ours.feed', require 'nowhere.at.all' -- require 'other'\n"
    assert _told(tmp_path, source) == ["ours/feed.lua:2: kumo.kafka.build_producer is known to KumoMTA"]
