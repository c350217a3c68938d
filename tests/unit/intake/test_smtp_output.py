"""How the replies of an SMTP session leave."""

from __future__ import annotations

import pytest

from kumotwist.intake.smtp.output import Output


class Kernel:
    """A socket whose buffer has room for so many octets."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> int:
        if not self.room:
            raise BlockingIOError
        taken = data[: self.room]
        self.room -= len(taken)
        self.sent.append(taken)
        return len(taken)


class Wire:
    """A transport that keeps what the reactor is to write."""

    def __init__(self, room: int) -> None:
        self.socket = Kernel(room)
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)


def test_replies_to_pipelined_commands_leave_in_one_write():
    """One packet, and no turn of the reactor."""
    wire = Wire(100)
    output = Output(wire, writes_at_once=True)
    for reply in (b"250 a\r\n", b"250 b\r\n"):
        output.put(reply)
    output.flush()
    output.flush()
    assert wire.socket.sent == [b"250 a\r\n250 b\r\n"]
    assert not wire.written


@pytest.mark.parametrize("room", [0, 1, 6])
def test_a_peer_that_does_not_read_gets_everything_in_order(room):
    """What its kernel does not take goes through the reactor, and so does all that follows."""
    wire = Wire(room)
    output = Output(wire, writes_at_once=True)
    output.put(b"250 a\r\n")
    output.flush()
    wire.socket.room = 100
    output.put(b"250 b\r\n")
    output.flush()
    assert b"".join([*wire.socket.sent, *wire.written]) == b"250 a\r\n250 b\r\n"
    assert sum(map(len, wire.socket.sent)) == room
    assert wire.written[-1] == b"250 b\r\n"


def test_a_peer_that_is_gone_is_the_reactors_affair():
    """Nothing is raised, and nothing is written behind it."""
    wire = Wire(100)

    def reset(_data: bytes) -> int:
        raise ConnectionResetError

    wire.socket.send = reset
    output = Output(wire, writes_at_once=True)
    output.put(b"250 a\r\n")
    output.flush()
    assert not wire.written


def test_under_tls_the_socket_is_not_touched():
    """Octets in clear between two TLS records would end the connection."""
    wire = Wire(100)
    output = Output(wire, writes_at_once=False)
    output.put(b"250 a\r\n")
    output.flush()
    assert (wire.socket.sent, wire.written) == ([], [b"250 a\r\n"])
