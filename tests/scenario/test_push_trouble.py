"""APNs as it is on a bad day: goodbyes, resets, cut connections, a kill; every notification ends once."""

from __future__ import annotations

import http.client
import json
import uuid

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.daemon import Daemon, eventually
from support.http2peer import CA, http2_peer, needs_node

POLICY = """
local kumo = require 'kumo'
kumo.on('init', function()
  kumo.configure_local_logs {{ log_dir = '{directory}/log', max_segment_duration = '1 second' }}
  kumo.define_spool {{ name = 'data', path = '{directory}/spool/data' }}
  kumo.define_spool {{ name = 'meta', path = '{directory}/spool/meta' }}
  kumo.start_http_listener {{ listen = '127.0.0.1:0' }}
end)
kumo.on('get_queue_config', function()
  return kumo.make_queue_config {{
    retry_interval = '1 second', max_retry_interval = '2 seconds',
    protocol = {{
      apns = {{
        key = '{directory}/key.p8', key_id = 'K', team_id = 'T', topic = 'com.example.app', timeout = '3 seconds',
        base_url = 'https://localhost:{port}',
      }},
    }},
  }}
end)
kumo.on('get_egress_path_config', function()
  return kumo.make_egress_path {{ connection_limit = 2, max_deliveries_per_connection = 100000, idle_timeout = '1m' }}
end)
"""


def policy(directory, port):
    key = ec.generate_private_key(ec.SECP256R1())
    (directory / "key.p8").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    CA.cert_pem.write_to_path(str(directory / "roots.pem"))
    return POLICY.format(directory=directory, port=port), {"SSL_CERT_FILE": str(directory / "roots.pem")}


def send(port, body):
    """Status and reply of the send API."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    client.request("POST", "/api/send/v1", json.dumps(body), {"Content-Type": "application/json"})
    answer = client.getresponse()
    text = answer.read()
    client.close()
    return answer.status, json.loads(text) if text.startswith(b"{") else text.decode()


def push(daemon, tokens):
    """The ids of the messages, by token."""
    to = [{"device_token": token, "platform": "apns"} for token in tokens]
    status, reply = send(daemon.port("http"), {"to": to, "subject": "Your parcel", "text": "It arrives tomorrow."})
    assert status == 200, reply
    return dict(zip(tokens, [one["id"] for one in reply["recipients"]], strict=True))


def ended(daemon, ids):
    """Whether all of them have a last record; those records by id."""
    found = {}
    for kind in ("Delivery", "Bounce"):
        for record in daemon.records(kind):
            found.setdefault(record["id"], []).append(kind)
    return found if set(ids) <= set(found) else None


@needs_node
def test_every_kind_of_trouble_at_once(tmp_path):
    """Refused, reset, stalled, told to wait, dead, too large a reply: each notification gets its one end.

    Goodbyes and cut connections are in the channel's own tests: among all this they crash Node now and then.
    """
    tokens = [f"{number:064x}" for number in range(100)]
    troubles = [
        {"reset": 7},
        {"reset": 2},
        {"stall": True},
        {"status": 503, "reason": "Shutdown"},
        {"status": 429, "reason": "TooManyRequests"},
        {"large": 100_000},
    ]
    script = {token: {**trouble, "times": 1} for token, trouble in zip(tokens[::10], troubles, strict=False)}
    dead = tokens[95]
    script[dead] = {"status": 410, "reason": "Unregistered"}
    with http2_peer(settings={"maxConcurrentStreams": 20}) as apple:
        apple.script(**script)
        text, trust = policy(tmp_path, apple.port)
        with Daemon(tmp_path, text, env=trust) as daemon:
            ids = push(daemon, tokens)
            found = eventually(lambda: ended(daemon, ids.values()), "every notification has ended", 60)
        taken = [one["headers"][":path"].rpartition("/")[2] for one in apple.requests()]
    assert all(len(kinds) == 1 for kinds in found.values())
    assert {token for token, name in ids.items() if found[name] == ["Bounce"]} == {dead}
    assert set(taken) == set(tokens)


@needs_node
def test_an_idle_goodbye_costs_nobody_anything(tmp_path):
    """Apple ends a quiet connection; the next notification opens a new one, without a failure on record."""
    with http2_peer() as apple:
        text, trust = policy(tmp_path, apple.port)
        with Daemon(tmp_path, text, env=trust) as daemon:
            for token in ("ab" * 32, "cd" * 32):
                (name,) = push(daemon, [token]).values()
                eventually(lambda name=name: ended(daemon, [name]), "it is delivered")
                apple.tell(goaway={"text": '{"reason":"IdleTimeout"}'})
            assert not daemon.records("TransientFailure")
            assert apple.tell(count=True)["count"] == 2


@needs_node
def test_a_kill_in_the_middle_loses_nothing(tmp_path):
    """kill -9 with notifications on the wire: each is delivered after the restart, and none more than twice."""
    tokens = [f"{number:064x}" for number in range(60)]
    with http2_peer(settings={"maxConcurrentStreams": 10}) as apple:
        apple.script(**{token: {"stall": True} for token in tokens[20:]})
        text, trust = policy(tmp_path, apple.port)
        daemon = Daemon(tmp_path, text, env=trust).start()
        ids = push(daemon, tokens)
        eventually(lambda: apple.tell(count=True)["count"] >= 25, "some are on the wire")
        daemon.kill()
        before = uuids_in(apple.requests())
        apple.script()
        unanswered = {str(uuid.UUID(ids[token])) for token in tokens[20:]}
        after = []
        with Daemon(tmp_path, text, env=trust):

            def all_taken():
                after.extend(uuids_in(apple.requests()))
                return unanswered <= set(after)

            eventually(all_taken, "every notification is answered")
    taken = before + after
    assert set(taken) == {str(uuid.UUID(name)) for name in ids.values()}
    assert max(taken.count(one) for one in taken) <= 2


def uuids_in(requests):
    """What Apple was told that they are called."""
    return [one["headers"]["apns-id"] for one in requests]
