"""The SMSC's stand-in speaks SMPP 3.4, byte for byte, and sends receipts later.

Asked with PDUs written out by hand: neither our client nor its codec is in it.
"""

import struct

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from kumotwist.demo.standin_smsc import Smsc, factory


def pdu(command, sequence, body=b"", status=0):
    return struct.pack("!IIII", 16 + len(body), command, status, sequence) + body


def submit(sequence, text=b"Your order is on its way", registered=1, coding=0):
    """A submit_sm from SHOP (a name) to +15551234567."""
    body = b"\0" + b"\5\0SHOP\0" + b"\1\00115551234567\0" + b"\0\0\0" + b"\0" + b"\0"
    return pdu(4, sequence, body + bytes([registered, 0, coding, 0, len(text)]) + text)


def split(data):
    """(command, status, sequence, body) of each PDU."""
    found = []
    while data:
        length, *head = struct.unpack_from("!IIII", data)
        found.append((*head, data[16:length]))
        data = data[length:]
    return found


class World:
    """An SMSC and one connection to it."""

    def __init__(self, **more):
        self.clock = Clock()
        self.clock.advance(1_790_000_000)
        self.smsc = Smsc(self.clock, **more)
        self.transport = StringTransport()
        self.link = factory(self.smsc).buildProtocol(None)
        self.link.makeConnection(self.transport)

    def ask(self, *requests):
        self.link.dataReceived(b"".join(requests))
        return self.said()

    def said(self):
        data = self.transport.value()
        self.transport.clear()
        return split(data)


BIND = pdu(9, 1, b"demo\0demo\0\0\x34\0\0\0")


def test_bind_submit_receipt():
    """A text gets an id at once and a receipt for that id later, from its recipient to its sender."""
    world = World(delay=2.0)
    assert world.ask(BIND) == [(0x80000009, 0, 1, b"standin\0")]
    assert world.ask(submit(2)) == [(0x80000004, 0, 2, b"0000000001\0")]
    world.clock.advance(1.9)
    assert world.said() == []
    world.clock.advance(5)
    ((command, status, sequence, body),) = world.said()
    assert (command, status, sequence) == (5, 0, 1)
    head, text = body.split(b"id:")
    assert head.startswith(b"\0" + b"\1\00115551234567\0" + b"\5\0SHOP\0" + b"\4")
    assert head[-1] == len(b"id:" + text)
    assert text.startswith(b"0000000001 sub:001 dlvrd:001 submit date:")
    assert b" stat:DELIVRD err:000 text:Your order is on its" in text


def test_one_text_in_ten_does_not_arrive():
    """By count, not by chance."""
    world = World(delay=0.1)
    world.ask(BIND, *(submit(number) for number in range(2, 22)))
    world.clock.advance(10)
    ends = [body.partition(b"stat:")[2][:7] for command, _, _, body in world.said() if command == 5]
    assert ends.count(b"UNDELIV") == 2
    assert len(ends) == 20


def test_a_share_is_refused():
    """With a share of a half every second text is refused, by turns for the moment and for good."""
    world = World(share=0.5)
    replies = world.ask(BIND, *(submit(number) for number in range(2, 10)))[1:]
    assert [status for _, status, _, _ in replies] == [0, 0x45, 0, 0x58, 0, 0x45, 0, 0x0B]
    assert all(body == b"" for _, status, _, body in replies if status)


def test_no_receipt_where_none_is_wanted_or_nobody_listens():
    """registered_delivery 0 asks for none, and who has gone gets none."""
    world = World(delay=1.0)
    world.ask(BIND, submit(2, registered=0))
    world.clock.advance(10)
    assert world.said() == []
    world.ask(submit(3))
    world.link.connectionLost()
    world.clock.advance(10)
    assert world.said() == []


def test_the_rest_of_the_protocol():
    """enquire_link and unbind are answered, responses are not, and what is unknown gets a generic_nack."""
    world = World()
    assert world.ask(pdu(0x15, 7), pdu(6, 8)) == [(0x80000015, 0, 7, b""), (0x80000006, 0, 8, b"")]
    assert world.ask(pdu(0x80000005, 9)) == []
    assert world.ask(pdu(0x103, 10)) == [(0x80000000, 3, 10, b"")]


def test_pdus_in_pieces():
    """However TCP cuts the stream."""
    world = World()
    for octet in BIND + submit(2):
        world.link.dataReceived(bytes([octet]))
    assert [command for command, _, _, _ in world.said()] == [0x80000009, 0x80000004]


@pytest.mark.parametrize(
    "lie", [pdu(4, 2, b"cut"), struct.pack("!IIII", 8, 4, 0, 2), struct.pack("!IIII", 2**31, 4, 0, 2)]
)
def test_lies_end_the_connection(lie):
    """A PDU that is cut short or of an impossible length cannot be answered."""
    world = World()
    world.ask(BIND, lie)
    assert world.transport.disconnecting
