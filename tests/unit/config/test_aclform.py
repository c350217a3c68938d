"""Access control lists as policies write them."""

import pytest

from kumotwist.config.aclform import parse_acl_map, parse_rules
from kumotwist.core.connection import AuthInfo, Identity
from kumotwist.core.errors import ConfigError

NOBODY = AuthInfo("192.0.2.1")
JOHN = AuthInfo("10.0.0.1", (Identity("john", "HttpBasicAuth"),), ("admins",))


@pytest.mark.parametrize(
    ("criteria", "nobody", "john"),
    [
        ({"Identity": {"Any": {}}}, True, True),
        ({"Identity": {"Authenticated": {}}}, None, True),
        ({"Identity": {"Unauthenticated": []}}, True, None),
        ({"Identity": {"Group": "admins"}}, None, True),
        ({"Identity": {"Individual": "john"}}, None, True),
        ({"Identity": {"Individual": "jane"}}, None, None),
        ({"Machine": "192.0.2.1"}, True, None),
        ({"Not": {"Machine": "192.0.2.1"}}, None, True),
        ({"AllOf": [{"Identity": {"Group": "admins"}}, {"Machine": "10.0.0.1"}]}, None, True),
        ({"AllOf": [{"Identity": {"Group": "admins"}}, {"Identity": {"Machine": "10.0.0.9"}}]}, None, None),
        ({"AnyOf": [{"Identity": {"Group": "admins"}}, {"Machine": "192.0.2.1"}]}, True, True),
    ],
)
def test_criteria(criteria, nobody, john):
    """Every criterion of KumoMTA's documentation decides as it says there."""
    rules = parse_rules([{"criteria": criteria, "privilege": "GET", "access": "Allow"}])
    assert rules.query(NOBODY, "GET") is nobody
    assert rules.query(JOHN, "GET") is john
    assert rules.query(JOHN, "POST") is None
    # The accounting log shows a rule in a form that can be read back.
    assert parse_rules([rules.rules[0].to_json()]) == rules


def test_a_map_in_toml():
    """Rules of one resource keep their order; a rule covers all its privileges."""
    acls = parse_acl_map("""
    [[acl."http_listener/*/api/inject"]]
    allow = false
    privileges = ["POST"]
    identity.Individual = "john"

    [[acl."http_listener/*/api/inject"]]
    allow = true
    privileges = ["POST", "GET"]
    identity.Authenticated = {}

    [[acl.other]]
    allow = true
    privileges = ["GET"]
    criteria.Not = { Identity = { Group = "admins" } }
    """)
    inject = acls["http_listener/*/api/inject"]
    assert inject.query(JOHN, "POST") is False
    assert inject.query(JOHN, "GET") is True
    assert acls["other"].query(NOBODY, "GET") is True
    assert acls["other"].query(JOHN, "GET") is None


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ({"privilege": "GET", "access": "Allow"}, "rule 1: a criterion is a table with one of Identity"),
        ({"criteria": {"Machin": "x"}, "privilege": "GET", "access": "Allow"}, "one of Identity, Machine"),
        ({"criteria": {"Identity": {"Group": 1}}, "privilege": "GET", "access": "Allow"}, "Group must be a string"),
        ({"criteria": {"Machine": "x"}, "privilege": "GET", "access": "allow"}, "access must be 'Allow' or 'Deny'"),
        ({"criteria": {"Machine": "x"}, "privileges": "GET", "access": "Allow"}, "unknown entry 'privileges'"),
        ("x", "a table with named entries is needed"),
    ],
)
def test_mistakes_in_rules(rule, text):
    """The rule and its mistake are named."""
    with pytest.raises(ConfigError, match=text):
        parse_rules([rule])


@pytest.mark.parametrize(
    ("toml", "text"),
    [
        ("[[acl", "not TOML"),
        ("[alc]", "unknown entry 'alc'"),
        ('[[acl.x]]\nprivileges = ["GET"]\nidentity.Any = {}', "x: rule 1: allow must be true or false"),
        ('[[acl.x]]\nallow = true\nprivileges = ["GET"]', "give either identity or criteria"),
        ("[[acl.x]]\nallow = true\nidentity.Any = {}", "a list is needed"),
        ("[[acl.x]]\nallow = true\nprivileges = [1]\nidentity.Any = {}", "privileges must be a string"),
    ],
)
def test_mistakes_in_maps(toml, text):
    """The resource, the rule and its mistake are named."""
    with pytest.raises(ConfigError, match=text):
        parse_acl_map(toml)


def test_criteria_nested_without_end_are_refused():
    """Depth is bounded."""
    criteria = {"Machine": "x"}
    for _ in range(20):
        criteria = {"Not": criteria}
    with pytest.raises(ConfigError, match="nested deeper"):
        parse_rules([{"criteria": criteria, "privilege": "GET", "access": "Allow"}])
