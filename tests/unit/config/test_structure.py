"""Reading options: right ones become objects, wrong ones become errors that help."""

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumotwist.config.egress import PathConfig, PoolConfig, PoolEntry, SourceConfig
from kumotwist.config.keysource import EnvironmentKey, EventKey, FileKey, LiteralKey, VaultKey
from kumotwist.config.listener import HttpListenerConfig, ListenerDomain, SmtpListenerConfig
from kumotwist.config.option import Cidrs, option, options
from kumotwist.config.queue import QueueConfig
from kumotwist.config.records import LocalLogConfig
from kumotwist.config.structure import structure
from kumotwist.core.errors import ConfigError
from kumotwist.core.units import Limit, Throttle


def test_nothing_given_is_all_defaults() -> None:
    """`{}` and an empty Lua table mean the same."""
    assert structure(QueueConfig, {}) == structure(QueueConfig, []) == QueueConfig()


def test_reads_a_queue() -> None:
    """As `kumo.make_queue_config` gets it."""
    queue = structure(
        QueueConfig,
        {"retry_interval": "5 minutes", "max_age": 3600, "egress_pool": "pool", "max_message_rate": "100/s"},
    )
    assert queue.retry_interval == 300
    assert queue.max_age == 3600
    assert queue.max_message_rate == Throttle(100, 1)


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("/etc/key.pem", FileKey("/etc/key.pem")),
        ({"key_data": "abc"}, LiteralKey(b"abc")),
        ({"key_data": b"\xff"}, LiteralKey(b"\xff")),
        ({"env": "KEY"}, EnvironmentKey("KEY")),
        ({"event_name": "get_key", "event_args": ["a", 1]}, EventKey("get_key", ("a", 1))),
        ({"vault_mount": "secret", "vault_path": "p"}, VaultKey(vault_mount="secret", vault_path="p")),
    ],
)
def test_reads_every_key_source(source: object, read: object) -> None:
    """Wherever a key is wanted, each of these will do."""
    assert structure(PathConfig, {"smtp_auth_plain_password": source}).smtp_auth_plain_password == read


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            {"vault_mount": "m", "vault_path": "p", "key": "k"},
            r"it has no 'key'; write a path, { key_data = }",
        ),
        ({"enf": "s3cret"}, r"it has no 'enf'; did you mean 'env'; write"),
        (5, "is not a usable key source; write a path, "),
        ({"key_data": 5}, "'smtp_auth_plain_password.key_data' must be a string"),
    ],
)
def test_what_is_wrong_with_a_key_source_is_said(source: object, said: str) -> None:
    """Which word, and what may stand there; never a value."""
    with pytest.raises(ConfigError, match=said) as caught:
        structure(PathConfig, {"smtp_auth_plain_password": source})
    assert "s3cret" not in str(caught.value)


def test_reads_nested_tables() -> None:
    """Lists of tables, tables of tables."""
    assert structure(PoolConfig, {"name": "p", "entries": [{"name": "s", "weight": 2}]}).entries == (
        PoolEntry(name="s", weight=2),
    )
    log = structure(LocalLogConfig, {"log_dir": "/l", "per_record": {"Any": {"enable": False}}})
    assert log.per_record["Any"].enable is False
    path = structure(PathConfig, {"additional_connection_limits": {"x": 5}, "connection_limit": "local:7"})
    assert path.additional_connection_limits == {"x": Limit(5)}
    assert path.connection_limit == Limit(7, local=True)


def test_reads_networks() -> None:
    """IPv4, IPv6, and IPv4 in IPv6 clothes."""
    relay = structure(SmtpListenerConfig, {"relay_hosts": ["10.0.0.0/8", "::1"]}).relay_hosts
    assert "10.1.2.3" in relay
    assert "::ffff:10.1.2.3" in relay
    assert "11.1.2.3" not in relay
    assert "not an address" not in relay


def test_reads_choices_beside_booleans() -> None:
    """`log_oob = true` and `log_oob = 'LogThenDrop'` are both right."""
    assert structure(ListenerDomain, {"log_oob": True}).log_oob is True
    assert structure(ListenerDomain, {"log_oob": "LogThenDrop"}).log_oob == "LogThenDrop"


def test_reads_choices_of_numbers() -> None:
    """`priority = 5` is one of 1, 5 and 10; true is none of them, and neither is a text."""

    @options
    class Choosing:
        priority: Literal[1, 5, 10] = option("x", default=1)

    assert structure(Choosing, {"priority": 5}).priority == 5
    assert repr(structure(Choosing, {"priority": 5.0}).priority) == "5"
    for wrong in (True, "5", 7, 5.5):
        with pytest.raises(ConfigError, match="must be one of 1, 5, 10"):
            structure(Choosing, {"priority": wrong})


@pytest.mark.parametrize(
    ("cls", "value", "words"),
    [
        (QueueConfig, {"max_agee": 1}, ["unknown option 'max_agee'", "did you mean 'max_age'"]),
        (QueueConfig, {"zzz": 1}, ["unknown option 'zzz'"]),
        (QueueConfig, {"max_age": "soon"}, ["'max_age'", "is not a duration", "'5 minutes'"]),
        (QueueConfig, {"max_age": {}}, ["'max_age'", "must be a duration", "got a table"]),
        (QueueConfig, {"max_message_rate": "100/seconds"}, ["'max_message_rate'", "is not a rate"]),
        (QueueConfig, {"max_message_rate": 5}, ["must be a rate like '100/s'", "got 5"]),
        (QueueConfig, {"refresh_strategy": "TTL"}, ["must be one of Ttl, Epoch", "got 'TTL'"]),
        (QueueConfig, 5, ["must be a table with named entries, got 5"]),
        (PathConfig, {"smtp_port": "25"}, ["'smtp_port'", "must be a whole number, got '25'"]),
        (PathConfig, {"smtp_port": 2.5}, ["must be a whole number"]),
        (PathConfig, {"enable_rset": "yes"}, ["must be true or false, got 'yes'"]),
        (PathConfig, {"connection_limit": -1}, ["cannot be negative"]),
        (PathConfig, {"prohibited_hosts": ["10.0.0.1/8"]}, ["'prohibited_hosts'", "has host bits set", "'10.0.0.0/8'"]),
        (PathConfig, {"enable_tls": "required"}, ["did you mean 'Required'?"]),
        (PoolConfig, {"name": "p", "entries": [{"weight": 1}]}, ["option 'entries.1.name' is required"]),
        (PoolConfig, {}, ["option 'name' is required"]),
        (SourceConfig, {"name": "s", "ha_proxy_server": "x"}, ["known to KumoMTA but not supported"]),
        (HttpListenerConfig, {"trusted_hosts": [1]}, ["'trusted_hosts'", "IP addresses"]),
    ],
)
def test_a_mistake_is_named_with_its_mend(cls: type, value: object, words: list[str]) -> None:
    """What, where, and what to write instead."""
    with pytest.raises(ConfigError) as caught:
        structure(cls, value, "kumo.make_it")
    assert str(caught.value).startswith("kumo.make_it: ")
    for word in words:
        assert word in str(caught.value)


def test_a_secret_never_shows() -> None:
    """Neither in an error nor in the options object."""
    with pytest.raises(ConfigError) as caught:
        structure(PathConfig, {"smtp_auth_plain_password": {"vault_token": "hunter2", "vault_mount": "m"}})
    assert "hunter2" not in str(caught.value)
    path = structure(PathConfig, {"smtp_auth_plain_password": {"key_data": "hunter2"}})
    assert "hunter2" not in repr(path)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from([QueueConfig, PathConfig, SmtpListenerConfig, LocalLogConfig, PoolConfig]),
    st.dictionaries(
        st.sampled_from(
            ["protocol", "name", "max_age", "entries", "log_dir", "relay_hosts", "peer", "enable_tls", "meta"]
        ),
        json_values,
        max_size=3,
    ),
)
def test_nothing_but_a_config_error_comes_out(cls: type, value: dict[str, object]) -> None:
    """Whatever a policy hands over, the daemon gets an object or a readable error."""
    try:
        read = structure(cls, value)
    except ConfigError:
        return
    assert isinstance(read, cls)


def test_an_options_object_passes_through() -> None:
    """A handler may hand on what another function made."""
    config = QueueConfig(max_age=5)  # type: ignore[arg-type]
    assert structure(QueueConfig, config) is config
    assert structure(SmtpListenerConfig, {"relay_hosts": []}).relay_hosts == Cidrs()


def test_a_default_region_is_a_country() -> None:
    """A region that has no phone numbers is refused when the policy is read, not with each number."""
    assert structure(HttpListenerConfig, {"default_region": "DE"}).default_region == "DE"
    with pytest.raises(ConfigError, match=r"kumo.start_http_listener: option 'default_region' must be a country"):
        structure(HttpListenerConfig, {"default_region": "de"}, "kumo.start_http_listener")
