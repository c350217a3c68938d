"""Names of scheduled queues."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.core.queuename import compose, parse

part = st.text("abcxyz-.", min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("tenant", "campaign", "routing", "name"),
    [
        ("t", "c", None, "c:t@d"),
        ("t", None, None, "t@d"),
        (None, "c", None, "c:@d"),
        (None, None, None, "d"),
        ("t", "c", "r", "c:t@d!r"),
        (None, None, "relay.com:2025", "d!relay.com:2025"),
    ],
)
def test_composes_as_kumomta_does(tenant: str | None, campaign: str | None, routing: str | None, name: str) -> None:
    """Absent parts leave no trace, but a campaign alone keeps its colon."""
    assert compose("d", tenant, campaign, routing) == name


@given(part, st.none() | part, st.none() | part, st.none() | part)
def test_parsing_undoes_composing(domain: str, tenant: str | None, campaign: str | None, routing: str | None) -> None:
    """A campaign without a tenant comes back with the tenant ""."""
    name = parse(compose(domain, tenant, campaign, routing))
    expected_tenant = tenant if tenant is not None or campaign is None else ""
    assert (name.domain, name.tenant, name.campaign, name.routing_domain) == (
        domain,
        expected_tenant,
        campaign,
        routing,
    )


@given(st.text(max_size=30))
def test_every_string_is_a_name(text: str) -> None:
    """A policy may name queues as it likes."""
    assert parse(text).text == text
