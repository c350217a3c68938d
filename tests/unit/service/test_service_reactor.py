"""The reactor of worker processes: an error in one connection is that connection's."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
from kumotwist.service import reactor as lean
lean.install()
from twisted.internet import protocol, reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint

class Server(protocol.Protocol):
    def dataReceived(self, data):
        if data == b"fail":
            raise ZeroDivisionError
        self.transport.write(data)

class Client(protocol.Protocol):
    says = b""
    def connectionMade(self):
        self.transport.write(self.says)
    def dataReceived(self, data):
        print("echo", data.decode(), flush=True)
        reactor.stop()
    def connectionLost(self, reason):
        if self.says == b"fail":
            print("lost", flush=True)
            talk(b"well")

def talk(says):
    factory = protocol.Factory.forProtocol(type("Saying", (Client,), {"says": says}))
    TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port).connect(factory)

def listening(made):
    global port
    port = made
    talk(b"fail")

endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
endpoint.listen(protocol.Factory.forProtocol(Server)).addCallback(listening)
reactor.callLater(20, reactor.stop)
reactor.run()
"""


def test_an_error_in_one_connection_costs_that_connection_only() -> None:
    """What a protocol raises closes its connection; the next client is served as ever."""
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["lost", "echo", "well"], done.stderr
