"""Mistakes in nested tables: every one says its option by its full path, once, whatever finds it."""

import re

import attrs
import pytest

from kumotwist.config.catalog import CATALOG, NESTED
from kumotwist.config.option import option_name
from kumotwist.config.structure import structure
from kumotwist.core.errors import ConfigError
from kumotwist.egress.protocols import BUILT_IN, load, queue_config, route_table
from kumotwist.trial.scenario import Trouble

CLASSES = list(dict.fromkeys([*CATALOG.values(), *NESTED.values(), *(load(one).options for one in BUILT_IN), Trouble]))
#: Values that readers, choices, bounds and checks of several options together refuse, each another one.
WRONG = ("\0 wrong", -1, -0.5, float("nan"), 1e9, True, "", (), ["\0"], [{"zzz": 1}], {"zzz": 1}, {"a": {"zzz": 1}})
ONE_PATH = re.compile(r"here: (?:unknown )?option 'up\.1(?:\.[^']+)?'(?: |: |; |$)")


def _mistakes(cls: type) -> list[str]:
    required = {option_name(one): "x" for one in attrs.fields(cls) if one.default is attrs.NOTHING}
    tables = [{}, {"zzz": 1}, *({**required, option_name(one): bad} for one in attrs.fields(cls) for bad in WRONG)]
    found = []
    for table in tables:
        try:
            structure(cls, table, "here", ("up", "1"))
        except ConfigError as error:
            found.append(str(error))
    return found


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_mistake_says_its_full_path_once(cls):
    """Nobody has to put a path together out of two halves, or wonder whether `weight` is an option beside `routes`."""
    mistakes = _mistakes(cls)
    assert mistakes
    for said in mistakes:
        assert ONE_PATH.match(said), said
        assert said.count("option '") == 1, said


ROUTE = {"name": "a", "weight": 1}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"routes": [{"name": "a", "weight": -1}]}, "option 'routes.1.weight' of route 'a' must be 0 or more, got -1"),
        ({"routes": [ROUTE, {"weight": 1}]}, "option 'routes.2.name' is required"),
        ({"routes": [{**ROUTE, "wieght": 1}]}, "unknown option 'routes.1.wieght'; did you mean 'weight'?"),
        ({"routes": [{"name": "a", "weight": "1"}]}, "option 'routes.1.weight' must be a number, got '1'"),
        ({"routes": [ROUTE], "learn": {"floor": 1}}, "option 'learn.floor' must be between 0 and 0.2, got 1"),
        ({"routes": [ROUTE], "learn": {"half_life": 0}}, "option 'learn.half_life' must be more than 0, got 0"),
        (
            {"routes": [{**ROUTE, "budgets": [{"rate": "1/s", "by": "x"}]}]},
            "option 'routes.1.budgets.1.by' must be one of all, tenant, country, recipient, meta:NAME, got 'x'",
        ),
        (
            {"routes": [ROUTE], "fallback": [{"route_table": "sms", "wait": 0}]},
            "option 'fallback.1.wait' must be more than 0",
        ),
        (
            {"routes": [{**ROUTE, "protocol": {"sendgrid": {}}}]},
            "option 'routes.1.protocol.sendgrid.api_key' is required",
        ),
        (
            {"routes": [{**ROUTE, "protocol": {"sendgrid": {"api_key": "/k", "base_url": "api.sendgrid.com"}}}]},
            "option 'routes.1.protocol.sendgrid.base_url' is not an http or https URL: 'api.sendgrid.com'",
        ),
        (
            {"routes": [{**ROUTE, "protocol": {"webhook": {}}}]},
            "option 'routes.1.protocol.webhook': must have either 'url', 'secret_url' or 'url_meta'",
        ),
        (
            {"routes": [ROUTE, {"name": "b", "weight": 1, "protocol": 7}]},
            "option 'routes.2.protocol' must name one protocol, like { smtp = {} }, got 7",
        ),
    ],
)
def test_mistakes_in_a_route_table(table, said):
    """Which of the routes, and which option of it, to the last step."""
    with pytest.raises(ConfigError) as caught:
        route_table({"name": "t", **table}, "kumo.make_route_table")
    assert str(caught.value) == f"kumo.make_route_table: {said}"


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        ({"twilio": {"account_sid": 1}}, "option 'protocol.twilio.account_sid' must be a string, got 1"),
        ({"maildir_path": 5}, "option 'protocol.maildir_path' must be a string, got 5"),
        (
            {"webhook": {"url": "https://a.example/", "headers": {"A": "x\ny"}}},
            "option 'protocol.webhook.headers.A' is wrong: the value of header A has a line break or NUL in it",
        ),
    ],
)
def test_mistakes_in_a_queue(protocol, said):
    """The same for a queue's own protocol."""
    with pytest.raises(ConfigError) as caught:
        queue_config({"protocol": protocol}, "kumo.make_queue_config")
    assert str(caught.value) == f"kumo.make_queue_config: {said}"
