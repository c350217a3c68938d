"""Secrets that policy loads do not show where it speaks to people."""

from __future__ import annotations

import pytest
from support.lua import Bench, now

from kumotwist.core.errors import PolicyError, Rejection
from kumotwist.core.queuename import parse
from kumotwist.lua.lib.secrets import SecretsLibrary
from kumotwist.lua.redact import Redactor

KEY = "SG.abc-def-0123456789"


class Keys:
    async def load(self, source):
        return f"{KEY}\n".encode()


@pytest.fixture
def bench(bench: Bench) -> Bench:
    bench.libraries = (SecretsLibrary(Keys(), bench.redactor),)
    return bench


def run(bench: Bench, source: str):
    policy = bench.policy(f"kumo.on('go', function() local key = kumo.secrets.load 'file' {source} end)")
    return now(policy.run_event("go"))


def test_policy_has_the_string_itself(bench) -> None:
    """A policy written for KumoMTA joins it, measures it, compares it."""
    assert run(bench, "return 'Bearer ' .. key:gsub('%s', '')") == f"Bearer {KEY}"
    assert run(bench, "return tostring(key) == key and #key > 10 and type(key) == 'string'") is True


def test_nothing_that_is_logged_or_printed_shows_it(bench, events, capfd) -> None:
    """kumo.log_*, print and tostring in them, also inside of tables."""
    run(bench, "kumo.log_info('key', key, { nested = key }) kumo.log_error(tostring(key)) print('key=' .. key)")
    shown = "".join(str(event.get("text", "")) for event in events) + capfd.readouterr().out
    assert KEY not in shown
    assert shown.count("<secret>") == 4


def test_no_error_shows_it(bench, events) -> None:
    """Neither the error's text, which goes into records, nor the traceback in the log."""
    with pytest.raises(PolicyError) as error:
        run(bench, "error('refused: ' .. key)")
    assert "refused: <secret>" in str(error.value)
    with pytest.raises(Rejection) as rejection:
        run(bench, "kumo.reject(550, 'no ' .. key)")
    assert rejection.value.text.strip() == "no <secret>"
    assert KEY not in "".join(f"{event.get('text', '')}{event.get('trace', '')}" for event in events)


@pytest.mark.parametrize("answer", ["'sent with ' .. key", "'\\xff' .. key"])
def test_no_disposition_shows_it(bench, answer) -> None:
    """What `send` of a custom_lua connection returns stands in the Delivery record."""
    policy = bench.policy(f"""kumo.on('make', function()
      local key, connection = kumo.secrets.load 'file', {{}}
      function connection:send() return {answer} end
      return connection
    end)""")
    connection = now(policy.connect("make", parse("example.org")))
    said = now(connection.send([bench.message()], batched=False))
    assert "<secret>" in said
    assert KEY not in said


def test_what_is_looked_for_is_bounded() -> None:
    """Short words stay readable, certificates are not looked for, and old values make room for new ones."""
    redactor = Redactor()
    for value in (b"root", b"x" * 5000, *(b"secret-%03d" % number for number in range(300))):
        redactor.add(value)
    assert redactor.clean("root " + "x" * 5000) == "root " + "x" * 5000
    assert redactor.clean("secret-299 secret-000") == "<secret> secret-000"
    assert "secret-299" not in repr(redactor)
