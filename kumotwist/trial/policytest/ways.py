"""The ways into a policy under test: SMTP, injection and the send API, as the daemon has them, without a socket.

Public: `WaysIn`, `HOSTNAME`. What can go wrong: Failed, and what the intake raises.
"""

from __future__ import annotations

from typing import Final

from kumotwist.config.listener import HttpListenerConfig
from kumotwist.core.ids import IdGenerator
from kumotwist.core.interfaces import KeyLoader, Limits, MessageStore, Recorder, ReportDesk
from kumotwist.intake.admission import Admission
from kumotwist.intake.http.origin import Origin
from kumotwist.intake.inject import request as inject_request
from kumotwist.intake.inject.generator import GeneratorChannel
from kumotwist.intake.inject.injection import Injection, InjectResult
from kumotwist.intake.send import request as send_request
from kumotwist.intake.send.result import SendResult
from kumotwist.intake.send.sending import Sending
from kumotwist.intake.smtp.factory import SmtpFactory
from kumotwist.intake.smtp.slots import ConnectionSlots
from kumotwist.lua.policy import Policy
from kumotwist.queue.manager import Manager
from kumotwist.trial.policytest.faults import Failed
from kumotwist.trial.policytest.httpclient import Caller, admitted
from kumotwist.trial.policytest.pretend import PretendClock
from kumotwist.trial.policytest.smtpclient import Client, Letter, Transaction, transact, without_certificates

HOSTNAME: Final = "mx.test"


class WaysIn:
    """One of each that the policy declares."""

    def __init__(
        self,
        policy: Policy,
        store: MessageStore,
        recorder: Recorder,
        queue: Manager,
        limits: Limits,
        keys: KeyLoader,
        ids: IdGenerator,
        clock: PretendClock,
        reports: ReportDesk,
    ) -> None:
        gate = OpenGate()
        self.admission = Admission(store, recorder, queue, clock, gate, reports)
        self._injection = Injection(policy, self.admission, gate, ids, clock, HOSTNAME, can_defer=True)
        self.generator = GeneratorChannel(self._injection)
        self._sending = Sending(policy, self.admission, gate, ids, clock, HOSTNAME)
        self._policy = policy
        self._clock = clock
        self._smtp = [
            SmtpFactory(
                config,
                policy,
                self.admission,
                recorder,
                gate,
                keys,
                ids,
                clock,
                HOSTNAME,
                slots=ConnectionSlots(limits, f"listener-{number}", config.max_connections, 1),
            )
            for number, config in enumerate(policy.declarations.esmtp_listeners)
        ]
        for factory in self._smtp:
            without_certificates(factory)

    def stop(self) -> None:
        """Take nothing any more."""
        for factory in self._smtp:
            factory.stop(0.0)

    def smtp(self, letter: Letter, client: Client, listener: int) -> Transaction:
        """Hand over a message by SMTP. Raises Failed."""
        if not 1 <= listener <= len(self._smtp):
            raise Failed(f"the policy starts {len(self._smtp)} ESMTP listeners; there is no number {listener}")
        done = transact(self._smtp[listener - 1], self._clock, client, letter)
        self._clock.settle()
        return done

    def http(self, request: bytes, caller: Caller) -> InjectResult:
        """Inject as `POST /api/inject/v1` would. Raises HttpError, RequestProblem and what injection raises."""
        origin = self._origin(caller, "/api/inject/v1")
        result = self._clock.result(self._injection.inject(inject_request.decode(request), origin), "the injection")
        self._clock.settle()
        return result

    def send(self, request: bytes, caller: Caller) -> SendResult:
        """Send as `POST /api/send/v1` would. Raises HttpError, RequestProblem and what sending raises."""
        regions = [one.default_region for one in self._policy.declarations.http_listeners]
        region = regions[caller.listener - 1] if regions else None
        origin = self._origin(caller, "/api/send/v1")
        asked = self._sending.prepare(send_request.decode(request), origin, region)
        result = self._clock.result(asked.send(), "the sending")
        self._clock.settle()
        return result

    def _origin(self, caller: Caller, path: str) -> Origin:
        """Who asks, as the policy's HTTP listener sees it. Raises HttpError, Failed."""
        listeners = self._policy.declarations.http_listeners
        if not 1 <= caller.listener <= max(1, len(listeners)):
            raise Failed(f"the policy starts {len(listeners)} HTTP listeners; there is no number {caller.listener}")
        config = listeners[caller.listener - 1] if listeners else HttpListenerConfig()
        work = admitted(config, self._policy, self._clock, caller, path)
        return Origin(self._clock.result(work, "the listener"), hostname=config.hostname)


class OpenGate:
    """Takes everything: a test has neither disk nor load. A `Gatekeeper` and a `Room`."""

    def refusal(self) -> str | None:
        """There is no reason."""
        return None

    def take(self, octets: int) -> None:
        """There is room."""

    def written(self, octets: int) -> None:
        """There still is."""

    def may_write(self, octets: int) -> bool:  # noqa: ARG002
        """There is room."""
        return True
