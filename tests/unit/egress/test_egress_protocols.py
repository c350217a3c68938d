"""What policies write as `protocol`: names, options, and what is said of mistakes."""

import pytest

from kumotwist.config.queue import (
    CustomLuaProtocol,
    MaildirProtocol,
    MxHost,
    NullProtocol,
    SmtpProtocol,
)
from kumotwist.config.table import Table
from kumotwist.core.errors import ConfigError
from kumotwist.egress.protocols import BUILT_IN, load, queue_config


@pytest.mark.parametrize(
    ("protocol", "read"),
    [
        ({"smtp": {}}, SmtpProtocol()),
        ("smtp", SmtpProtocol()),
        ({"smtp": {"mx_list": ["a:2525", {"name": "b", "addr": "10.0.0.1:25"}]}},
         SmtpProtocol(mx_list=("a:2525", MxHost("b", "10.0.0.1:25")))),
        ({"custom_lua": {"constructor": "c", "batch_size": 9.0}}, CustomLuaProtocol(constructor="c", batch_size=9)),
        ({"maildir_path": "/var/mail"}, MaildirProtocol(maildir_path="/var/mail")),
        ("null", NullProtocol()),
    ],
)  # fmt: skip
def test_reads_every_protocol(protocol: object, read: object) -> None:
    """One protocol a queue, with its own options."""
    assert queue_config({"protocol": protocol}, "kumo.make_queue_config").protocol == read


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        ({"smpt": {}}, ["names no protocol 'smpt'", "did you mean 'smtp'"]),
        ({"smtp": {}, "null": {}}, ["must name one protocol"]),
        ({"custom_lua": {}}, ["option 'protocol.custom_lua.constructor' is required"]),
        ({"smtp": {"mx_lists": []}}, ["unknown option 'protocol.smtp.mx_lists'", "did you mean 'mx_list'"]),
        ("sendgrid", ["must name one protocol", "'sendgrid'"]),
        (7, ["must name one protocol", "got 7"]),
    ],
)
def test_mistakes_are_named(protocol: object, words: list[str]) -> None:
    """The error says which option of which protocol, and what was probably meant."""
    with pytest.raises(ConfigError) as caught:
        queue_config({"protocol": protocol}, "kumo.make_queue_config")
    for word in ["kumo.make_queue_config", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_name_leads_to_its_channel(name: str) -> None:
    """The table is right: each kind says the name that it stands under, and documents every option."""
    assert load(name).options.channel == name


def test_tables_in_options_are_compared_by_what_they_hold() -> None:
    """Options are keys, so equal tables hash alike, nested ones included."""
    one, other = Table({"a": 1, "b": {"c": [1, 2]}}), Table({"b": {"c": [1, 2]}, "a": 1})
    assert one == other
    assert hash(one) == hash(other)
    assert hash(one) != hash(Table({"a": 2}))
