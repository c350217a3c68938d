"""One call of the send API reaches an iPhone, an Android phone and a browser; dead tokens are told."""

from __future__ import annotations

import http.client
import json
import threading
import uuid
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl

import jwt as pyjwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from support.apicases.discovery import discovered
from support.apicases.fcm import KEY as GOOGLE_KEY
from support.apicases.fcm import account
from support.daemon import Daemon
from support.http2peer import CA, http2_peer, needs_node
from support.webpushpeer import needs_browser, webpush_peer

from kumotwist.proto.sign import base64url

APPLE_KEY = ec.generate_private_key(ec.SECP256R1())
VAPID_KEY = ec.generate_private_key(ec.SECP256R1())
IPHONE, GONE = "ab" * 32, "cd" * 32
POLICY = """
local kumo = require 'kumo'
kumo.on('init', function()
  kumo.configure_local_logs {{ log_dir = '{directory}/log', max_segment_duration = '1 second' }}
  kumo.define_spool {{ name = 'data', path = '{directory}/spool/data' }}
  kumo.define_spool {{ name = 'meta', path = '{directory}/spool/meta' }}
  kumo.start_http_listener {{ listen = '127.0.0.1:0' }}
end)
local protocols = {{
  ['push!apns'] = {{
    apns = {{
      key = '{directory}/apple.p8', key_id = 'KEY1', team_id = 'TEAM1', topic = 'com.example.app',
      base_url = 'https://localhost:{apns}', priority = 5, badge = 1, ttl = '1h', text = {{ max_body = 200 }},
    }},
  }},
  ['push!fcm'] = {{
    fcm = {{ service_account = '{directory}/google.json', base_url = '{fcm}', token_url = '{fcm}/token' }},
  }},
  ['webpush!'] = {{
    webpush = {{
      vapid_key = '{directory}/vapid.pem', subject = 'mailto:ops@example.com', allow_private_addresses = true,
    }},
  }},
}}
kumo.on('get_queue_config', function(domain, tenant, campaign, routing_domain)
  return kumo.make_queue_config {{ protocol = protocols[domain .. '!' .. (routing_domain or '')] }}
end)
"""


def send(port, body):
    """Status and reply of the send API."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    client.request("POST", "/api/send/v1", json.dumps(body), {"Content-Type": "application/json"})
    answer = client.getresponse()
    text = answer.read()
    client.close()
    return answer.status, json.loads(text) if text.startswith(b"{") else text.decode()


class Google(BaseHTTPRequestHandler):
    """FCM and the authority for its tokens, held to Google's schema and to RFC 7523."""

    protocol_version = "HTTP/1.1"
    schema = discovered("google_fcm.v1.discovery.json", "SendMessageRequest")
    taken: list[dict[str, object]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/token":
            assertion = dict(parse_qsl(body.decode()))["assertion"]
            claims = pyjwt.decode(assertion, GOOGLE_KEY.public_key(), ["RS256"], {"verify_aud": False})
            self._say({"access_token": f"for-{claims['iss']}", "expires_in": 3600})
            return
        assert self.path == "/v1/projects/demo-1/messages:send"
        assert self.headers["Authorization"] == "Bearer for-push@demo-1.iam.gserviceaccount.com"
        value = json.loads(body)
        self.schema.validate(value)
        self.taken.append(value["message"])
        self._say({"name": "projects/demo-1/messages/1"})

    def _say(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def google():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Google)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def keys_in(directory):
    """The files that the policy names, and the authority that the daemon is to trust."""
    (directory / "apple.p8").write_bytes(pem(APPLE_KEY))
    (directory / "vapid.pem").write_bytes(pem(VAPID_KEY))
    (directory / "google.json").write_text(account("k"))
    CA.cert_pem.write_to_path(str(directory / "roots.pem"))
    return {"SSL_CERT_FILE": str(directory / "roots.pem")}


@needs_node
@needs_browser
def test_one_message_to_three_devices_and_a_dead_one(tmp_path):
    """Each service gets it in its own form; the token that is gone has a Bounce and a DeadAddress record."""
    with (
        http2_peer(publicKey=public(APPLE_KEY), keyId="KEY1", teamId="TEAM1", topic="com.example.app") as apple,
        google() as fcm,
        webpush_peer() as browsers,
    ):
        apple.script(**{GONE: {"status": 410, "reason": "Unregistered", "timestamp": 1700000000000}})
        point = VAPID_KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        subscription, name = browsers.subscribe(base64url.encode(point))
        policy = POLICY.format(directory=tmp_path, apns=apple.port, fcm=fcm)
        with Daemon(tmp_path, policy, env=keys_in(tmp_path)) as daemon:
            status, reply = send(
                daemon.port("http"),
                {
                    "to": [
                        {"device_token": IPHONE, "platform": "apns"},
                        {"device_token": "t0ken", "platform": "fcm"},
                        {"web_push": subscription},
                        {"device_token": GONE, "platform": "apns"},
                    ],
                    "from": {"email": "shop@example.com"},
                    "subject": "Your parcel",
                    "text": "It arrives tomorrow.",
                    "data": {"order": 4711},
                },
            )
            assert status == 200, reply
            deliveries = daemon.wait_for_records("Delivery", 3)
            (dead,) = daemon.wait_for_records("DeadAddress", 1)
            (bounce,) = daemon.wait_for_records("Bounce", 1)
        seen = {one["headers"][":path"]: one for one in apple.requests()}
        shown = browsers.shown(name)
    iphone, android, browser, gone = [one["id"] for one in reply["recipients"]]
    request = seen[f"/3/device/{IPHONE}"]
    assert json.loads(request["body"]) == {
        "aps": {"alert": {"title": "Your parcel", "body": "It arrives tomorrow."}, "badge": 1},
        "order": 4711,
    }
    assert request["headers"]["apns-id"] == str(uuid.UUID(iphone))
    assert request["headers"]["apns-priority"] == "5"
    (message,) = [one for one in Google.taken if one["token"] == "t0ken"]
    assert message["data"] == {"order": "4711"}
    assert json.loads(shown[0]) == {
        "title": "Your parcel",
        "body": "It arrives tomorrow.",
        "data": {"order": 4711},
    }
    by_id = {one["id"]: one for one in deliveries}
    assert set(by_id) == {iphone, android, browser}
    assert by_id[iphone]["remote_id"] == str(uuid.UUID(iphone))
    assert by_id[android]["remote_id"] == "projects/demo-1/messages/1"
    assert [by_id[one]["channel"] for one in (iphone, android, browser)] == ["apns", "fcm", "webpush"]
    assert (dead["id"], bounce["id"]) == (gone, gone)
    assert dead["response"]["content"] == "410 Gone: Unregistered since 1700000000"
    assert dead["address"]["device_token"] == GONE
    logged = json.dumps([*deliveries, bounce])
    assert not [secret for secret in (IPHONE, GONE, "t0ken", name) if secret in logged]
