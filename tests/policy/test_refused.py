"""What KumoMTA has and kumotwist does not is refused by name; what only looks different to a policy is the same."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from support.lua import Bench, now
from twisted.internet.task import Clock

from kumotwist.config.catalog import CATALOG
from kumotwist.config.option import DOC_KEY
from kumotwist.core.errors import PolicyError, Rejection
from kumotwist.lua import describe
from kumotwist.lua.corelib import CoreLibrary
from kumotwist.lua.refused import FUNCTIONS, MESSAGE_METHODS


def run(directory: Path, source: str) -> object:
    """What a handler with this text returns."""
    policy = Bench(directory, clock=Clock()).policy(
        f"kumo.on('go', function() local m = kumo.make_message('a@b.c', 'd@e.f', 'x')\n{source}\nend)"
    )
    return now(policy.run_event("go"))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("kumo.configure_log_disposition_hook {}", "kumo.configure_log_disposition_hook"),
        ("return kumo.spf.check_msg {}", "kumo.spf.check_msg"),
        ("kumo.api.inject.inject_v1 {}", "kumo.api.inject.inject_v1"),
        ("m:arc_seal({})", "message:arc_seal"),
        ("return kumo.make_egress_source { name = 'x', ha_proxy_server = '10.0.0.1:1' }", "option 'ha_proxy_server'"),
    ],
)
def test_the_error_says_so(tmp_path: Path, source: str, name: str) -> None:
    """A name of KumoMTA's that we lack is told from a slip of the pen."""
    with pytest.raises(
        PolicyError, match=rf"policy\.lua:[12]: .*{name}.* is known to KumoMTA .*; see docs/kumomta-users\.md$"
    ):
        run(tmp_path, source)


@pytest.mark.parametrize("name", ["proxy", "redis", "tsa", "policy-extras.warmup"])
def test_modules_that_kumomta_brings_along(tmp_path: Path, name: str) -> None:
    """One line says that they are not here and where to read on; a file of that name stands in for one."""
    with pytest.raises(PolicyError, match=rf"policy\.lua:2: module '{name}' is known .*; see docs/kumomta-users\.md$"):
        run(tmp_path, f"require '{name}'")
    mine = tmp_path / f"{name.replace('.', '/')}.lua"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("return { mine = true }")
    assert run(tmp_path, f"return require('{name}').mine") is True


def test_nothing_is_both_refused_and_there() -> None:
    """The list of what is refused does not fall behind."""
    page = describe.functions_page()
    refused = [f"kumo.{area}.{name}".replace("..", ".") for area, text in FUNCTIONS.items() for name in text.split()]
    assert [name for name in refused if f"`{name}(" in page] == []
    assert [name for name in MESSAGE_METHODS if f"`message:{name}(" in page] == []
    assert "`kumo.digest.sha256(" in page  # that is how the page writes them
    assert {name for name in FUNCTIONS[""].split() if hasattr(CoreLibrary, name)} == set()


@pytest.mark.parametrize("code", ["550", "'550'", "550.0", "(' 550 ')", "('<550>'):match('%d+')"])
def test_numbers_may_be_texts(tmp_path: Path, code: str) -> None:
    """Where KumoMTA takes '550' for 550, so do we: a code cut out of a reply is a text."""
    with pytest.raises(Rejection) as caught:
        run(tmp_path, f"kumo.reject({code}, 'no')")
    assert (caught.value.code, caught.value.text) == (550, "no")


@pytest.mark.parametrize("code", ["'5_50'", "'x'", "''", "'0x226'", "true", "{}", "('9'):rep(300)"])
def test_other_texts_are_no_numbers(tmp_path: Path, code: str) -> None:
    """They are refused by name of the argument."""
    with pytest.raises(PolicyError, match="code must be a number"):
        run(tmp_path, f"kumo.reject({code}, 'no')")


def test_the_page_for_users_of_kumomta_is_complete() -> None:
    """Every option that changes nothing stands there."""
    page = (Path(__file__).parents[2] / "docs" / "kumomta-users.md").read_text()
    quiet = [
        one.name
        for function, options in CATALOG.items()
        for one in attrs.fields(options)
        if function != "kumo.dns.configure_resolver" and one.metadata[DOC_KEY].no_effect
    ]
    assert [name for name in quiet if f"`{name}`" not in page] == []
