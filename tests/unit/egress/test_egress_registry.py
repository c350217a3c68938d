"""The registry: one channel per protocol, built-ins loaded when needed, others by entry point."""

import importlib.metadata
from typing import ClassVar

import pytest
from attrs import frozen
from support.fakes_egress import make_channels
from twisted.internet import task

from kumotwist.config.queue import CustomLuaProtocol, MaildirProtocol, NullProtocol, SmtpProtocol
from kumotwist.core.errors import ConfigError
from kumotwist.core.stats import Sample
from kumotwist.egress import protocols, registry
from kumotwist.egress.null import NullChannel


@frozen
class PigeonProtocol:
    """Options of a channel from elsewhere."""

    channel: ClassVar[str] = "pigeon"
    loft: str = "roof"


class PigeonKind:
    """What a package announces under `kumotwist.egress`."""

    options = PigeonProtocol

    def __init__(self, services):
        self.services = services

    def make(self, protocol):
        return NullChannel()

    def samples(self):
        return (Sample("pigeons", 3),)


@pytest.mark.parametrize(
    ("protocol", "name"),
    [
        (SmtpProtocol(), "smtp_client"),
        (CustomLuaProtocol(constructor="make.x"), "lua:make.x"),
        (MaildirProtocol(maildir_path="/m"), "maildir:/m"),
        (NullProtocol(), "null"),
    ],
)
def test_every_protocol_has_its_channel(protocol, name):
    """Ready queue names end in KumoMTA's protocol names."""
    assert make_channels(task.Clock()).channel_for(protocol).protocol_name == name


def test_equal_protocols_share_a_channel():
    """A policy that returns equal options again and again costs nothing."""
    channels = make_channels(task.Clock())
    first = channels.channel_for(SmtpProtocol(mx_list=("a", "b")))
    assert channels.channel_for(SmtpProtocol(mx_list=("a", "b"))) is first
    assert channels.channel_for(SmtpProtocol(mx_list=("a",))) is not first


def test_channels_are_bounded(monkeypatch):
    """A policy that makes up a protocol per message cannot fill the memory."""
    monkeypatch.setattr(registry, "MAX_CHANNELS", 3)
    channels = make_channels(task.Clock())
    for number in range(10):
        channels.channel_for(SmtpProtocol(mx_list=(f"h{number}",)))
    assert len(channels._channels) == 3


def test_a_channel_from_elsewhere(monkeypatch):
    """A package adds a channel by an entry point, without a change here."""
    entry = importlib.metadata.EntryPoint("pigeon", f"{__name__}:PigeonKind", protocols.ENTRY_POINTS)
    monkeypatch.setattr(importlib.metadata.EntryPoint, "load", lambda self: PigeonKind)
    monkeypatch.setattr(protocols, "entry_points", lambda group, **_: [entry] if group == "kumotwist.egress" else [])
    protocols.load.cache_clear()
    channels = make_channels(task.Clock())
    assert isinstance(channels.channel_for(PigeonProtocol()), NullChannel)
    assert list(channels.samples()) == [Sample("pigeons", 3)]
    protocols.load.cache_clear()


def test_a_protocol_that_nobody_serves():
    """The error names what is missing."""
    with pytest.raises(ConfigError, match="PigeonProtocol"):
        make_channels(task.Clock()).channel_for(PigeonProtocol())
