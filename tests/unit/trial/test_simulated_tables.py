"""`kumotwist simulate --policy`: the table is found, or its names are told."""

import pytest
import pytest_twisted
from attrs import evolve
from support.fakes_queue import FakePolicy

from kumotwist.config.queue import QueueConfig
from kumotwist.config.routes import FallbackStage, RouteEntry, RouteTableConfig
from kumotwist.core.errors import ConfigError, PolicyError
from kumotwist.trial.tables import table_of


def goes_by(name):
    """A queue that goes by the table of that name."""
    return QueueConfig(route_table=name)


@pytest.fixture
def policy():
    """One that has a table, `bulk`, for all queues."""
    made = FakePolicy(goes_by("bulk"))
    for name in ("bulk", "sms"):
        made.tables[name] = RouteTableConfig(name=name, routes=(RouteEntry(name="only", weight=1.0),))
    return made


@pytest_twisted.ensureDeferred
async def test_the_table_of_the_sample_domains(policy):
    """Nobody has to know its name when there is one."""
    assert (await table_of(policy, None, [])).name == "bulk"


@pytest_twisted.ensureDeferred
async def test_the_table_of_a_queue(policy):
    """Tenants and campaigns may have tables of their own."""
    policy.configs["news:acme@example.com"] = goes_by("sms")
    assert (await table_of(policy, None, ["news:acme@example.com"])).name == "sms"


@pytest_twisted.ensureDeferred
async def test_several_tables_are_told_by_name(policy):
    """And how one is chosen."""
    policy.configs["gmail.com"] = goes_by("sms")
    with pytest.raises(ConfigError, match=r"several route tables: bulk, sms; choose one with --table"):
        await table_of(policy, None, [])
    assert (await table_of(policy, "sms", [])).name == "sms"


@pytest_twisted.ensureDeferred
async def test_no_table_at_all(policy):
    """What was asked, and what to say."""
    policy.config = QueueConfig()
    with pytest.raises(ConfigError, match=r"names none for a\.example; name one with --table.*--queue"):
        await table_of(policy, None, ["a.example"])
    assert (await table_of(policy, "sms", [])).name == "sms", "a message's meta may name it"


@pytest_twisted.ensureDeferred
async def test_a_name_that_policy_does_not_know(policy, capsys):
    """The names that queues go by are told."""
    with pytest.raises(ConfigError, match=r"--table: route table 'bluk'.*queues name bulk; did you mean 'bulk'"):
        await table_of(policy, "bluk", [])
    policy.config = goes_by("bluk")
    with pytest.raises(PolicyError, match=r"'bluk'"):  # it is the policy that is wrong
        await table_of(policy, None, [])
    assert capsys.readouterr().err == ""


@pytest_twisted.ensureDeferred
async def test_a_name_that_policy_answers_without_naming_it(policy, capsys):
    """A handler that makes a table of any name is said to have been asked for this one, and which ones queues go by."""
    policy.tables["bluk"] = evolve(policy.tables["bulk"], name="bluk")
    await table_of(policy, "bluk", [])
    assert capsys.readouterr().err == (
        "note: the queues asked about go by bulk; get_route_table was asked for 'bluk' and gave one; "
        "did you mean 'bulk'?\n"
    )
    policy.config = QueueConfig()
    await table_of(policy, "bluk", ["a.example"])
    assert capsys.readouterr().err == (
        "note: the queues asked about (a.example) name no table; get_route_table was asked for 'bluk' and gave one\n"
    )


@pytest_twisted.ensureDeferred
async def test_a_stage_of_a_fallback_is_a_table_that_is_known(policy, capsys):
    """Nothing is said of it: messages do come to it."""
    stages = (FallbackStage(route_table="sms"),)
    policy.tables["bulk"] = evolve(policy.tables["bulk"], fallback=stages)
    assert (await table_of(policy, "sms", [])).name == "sms"
    assert capsys.readouterr().err == ""
    with pytest.raises(ConfigError, match=r"queues name bulk, sms; did you mean 'sms'"):
        await table_of(policy, "smss", [])
