"""AWS channels against moto, which checks signatures as AWS does."""

import os
import socket
import subprocess
import sys

import pytest
import pytest_twisted
from support.daemon import eventually
from support.fakes_egress import make_channels, make_message, make_request
from support.ports import unused_port
from support.webpeer import turn
from twisted.internet import reactor

from kumotwist.config.keysource import LiteralKey
from kumotwist.core.outcome import Scope, Verdict
from kumotwist.egress.esp.ses import SesOptions
from kumotwist.net.http import HttpTransports

#: Requests that moto takes on trust before it checks signatures: the five that set the user up.
SET_UP = 5


class Aws:
    """A moto server with one user who may send; `key_id` and `secret` are that user's."""

    def __init__(self):
        self.port = unused_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": str(SET_UP)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(self._answers, "moto to listen", 60)

    def _answers(self):
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def set_up(self):
        import boto3

        options = {"endpoint_url": self.url, "region_name": "eu-west-1"}
        options |= {"aws_access_key_id": "root", "aws_secret_access_key": "root"}
        iam, ses = boto3.client("iam", **options), boto3.client("sesv2", **options)
        iam.create_user(UserName="mailer")
        policy = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
        iam.put_user_policy(UserName="mailer", PolicyName="all", PolicyDocument=policy)
        key = iam.create_access_key(UserName="mailer")["AccessKey"]
        ses.create_email_identity(EmailIdentity="src.test")
        ses.create_email_identity(EmailIdentity="ann@src.test")
        self.key_id, self.secret = key["AccessKeyId"], key["SecretAccessKey"]


@pytest.fixture(scope="module")
def aws():
    server = Aws()
    try:
        server.set_up()
        yield server
    finally:
        server.process.kill()
        server.process.wait()


async def deliver(aws, secret):
    transports = HttpTransports(reactor)
    options = SesOptions(
        base_url=aws.url,
        region="eu-west-1",
        access_key_id=LiteralKey(aws.key_id.encode()),
        secret_access_key=LiteralKey(secret.encode()),
    )
    session = make_channels(reactor, http=transports).channel_for(options).open(make_request())
    await session.connect()
    body = b"From: Ann <ann@src.test>\r\nTo: to@dest.test\r\nSubject: hello\r\n\r\nbody\r\n"
    ((outcome,),) = await session.deliver([make_message(body=body)])
    await session.close()
    await transports.close()
    await turn()
    return outcome


@pytest_twisted.ensureDeferred
async def test_a_message_with_our_signature_is_taken(aws):
    """The signature that we make is the one that AWS computes."""
    outcome = await deliver(aws, aws.secret)
    assert outcome.verdict is Verdict.DELIVERED, outcome
    assert outcome.remote_id


@pytest_twisted.ensureDeferred
async def test_a_wrong_secret_rests_the_source(aws):
    """A secret that is wrong bounces nothing."""
    outcome = await deliver(aws, "wrong")
    assert (outcome.verdict, outcome.scope) == (Verdict.TRANSIENT, Scope.SOURCE), outcome
    assert "SignatureDoesNotMatch" in outcome.response.content
