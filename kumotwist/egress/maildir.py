"""The maildir channel: each message becomes a file, synced before it counts as delivered.

The path is a minijinja template over the message: `meta`, `queue`, `tenant`,
`campaign`, `domain`, `routing_domain`, and of the recipient `email`,
`local_part` and `domain_part`. A value that is put into the path can never be
or hold a path separator, so no sender chooses a directory. Files are written
to `tmp`, synced, linked into `new`, and the directory synced
(https://cr.yp.to/proto/maildir.html), on the reactor's threads.

Public: `MaildirKind`, `MaildirChannel`, `MaildirSession`. What fails is a
transient outcome: permissions and full disks are mended by people.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import minijinja
from twisted.internet.threads import deferToThreadPool

from kumotwist.config.queue import MaildirProtocol
from kumotwist.core import ids, queuename
from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.errors import ConfigError
from kumotwist.core.interfaces import OpenRequest
from kumotwist.core.message import Message
from kumotwist.core.outcome import Outcome, Peer, Scope, Verdict
from kumotwist.core.response import INTERNAL_PREFIX, Response
from kumotwist.core.stats import Sample
from kumotwist.egress.services import Services

#: Modes where none are configured: mail is for its owner only.
DIR_MODE: Final = 0o700
FILE_MODE: Final = 0o600
_PARTS: Final = ("tmp", "new", "cur")
_SERIAL: Final = itertools.count(1)
_TEMPLATE: Final = "maildir_path"


def _as_one_name(value: object) -> object:
    """Called for every value that a template puts out. Raises ValueError for what could leave its directory."""
    text = str(value)
    if "/" in text or "\0" in text or text in (".", ".."):
        raise ValueError(f"{text!r} cannot be part of a maildir path")
    return value


class PathTemplate:
    """The configured path with its variables."""

    def __init__(self, template: str) -> None:
        """Raises ConfigError when the template does not parse."""
        self._environment = minijinja.Environment(undefined_behavior="strict", finalizer=_as_one_name, debug=False)
        self._environment.auto_escape_callback = lambda _: False
        try:
            self._environment.add_template(_TEMPLATE, template)
        except minijinja.TemplateError as error:
            raise ConfigError(f"maildir_path {template!r}: {error}") from None

    def render(self, message: Message, recipient: EnvelopeAddress) -> str:
        """The directory for one recipient. Raises ValueError or minijinja.TemplateError."""
        name = queuename.parse(message.queue_name())
        return self._environment.render_template(
            _TEMPLATE,
            meta=message.meta,
            queue=name.text,
            tenant=name.tenant,
            campaign=name.campaign,
            domain=name.domain,
            routing_domain=name.routing_domain,
            email=recipient.email,
            local_part=recipient.user,
            domain_part=recipient.domain,
        )


class MaildirSession:
    """Implements `core.interfaces.Session`."""

    max_batch: int = 1
    min_batch: int = 1
    batch_latency: float = 0.0
    is_connected: bool = True

    def __init__(self, services: Services, protocol: MaildirProtocol, template: PathTemplate) -> None:
        self._services = services
        self._dir_mode = DIR_MODE if protocol.dir_mode is None else protocol.dir_mode
        self._file_mode = FILE_MODE if protocol.file_mode is None else protocol.file_mode
        self._template = template

    async def connect(self) -> None:
        """Nothing to connect to."""

    async def deliver(self, batch: Sequence[Message]) -> Sequence[Sequence[Outcome]]:
        """One file for each recipient of each message. Cancelling it does not undo what a thread has begun."""
        return [[await self._store(message, recipient) for recipient in message.recipients] for message in batch]

    async def close(self) -> None:
        """Nothing to close."""

    async def _store(self, message: Message, recipient: EnvelopeAddress) -> Outcome:
        peer = Peer("maildir", "0.0.0.0", "Maildir")
        try:
            directory = self._template.render(message, recipient)
            peer = Peer(directory, "0.0.0.0", "Maildir")
            reactor = self._services.reactor
            name = self._file_name(message)
            work = partial(write, directory, name, message.body or b"", self._modes())
            await deferToThreadPool(reactor, reactor.getThreadPool(), work)  # type: ignore[arg-type]  # zope's interface
        except (OSError, ValueError, minijinja.TemplateError) as error:
            text = f"{INTERNAL_PREFIX}error in deliver_message: maildir: {error}"
            return Outcome(Verdict.TRANSIENT, Response(400, text), Scope.RECIPIENT, peer)
        return Outcome(Verdict.DELIVERED, Response(200, f"wrote to maildir with id={name}"), Scope.RECIPIENT, peer)

    def _modes(self) -> Mapping[str, int]:
        return {"directory": self._dir_mode, "file": self._file_mode}

    def _file_name(self, message: Message) -> str:
        host = self._services.hostname.replace("/", "\\057").replace(":", "\\072")
        seconds, fraction = divmod(self._services.clock.seconds(), 1)
        unique = f"M{int(fraction * 1e6)}P{os.getpid()}Q{next(_SERIAL)}R{ids.to_hex(message.id)[:8]}"
        return f"{int(seconds)}.{unique}.{host}"


def write(directory: str, name: str, body: bytes, modes: Mapping[str, int]) -> None:
    """Put `body` into the maildir as `new/name`; it is on disk when this returns. Blocks. Raises OSError."""
    for part in _PARTS:
        os.makedirs(os.path.join(directory, part), modes["directory"], exist_ok=True)
    temporary = os.path.join(directory, "tmp", name)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, modes["file"])
    try:
        with open(descriptor, "wb", closefd=True) as file:
            file.write(body)
            file.flush()
            os.fsync(descriptor)
        os.link(temporary, os.path.join(directory, "new", name))
    finally:
        os.unlink(temporary)
    _sync_directory(os.path.join(directory, "new"))


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class MaildirChannel:
    """Implements `core.interfaces.Channel` for one path."""

    delivers_at_once: bool = True

    def __init__(self, services: Services, protocol: MaildirProtocol) -> None:
        self._services = services
        self._protocol = protocol
        self._template = PathTemplate(protocol.maildir_path)

    @property
    def protocol_name(self) -> str:
        """`maildir:` and the path as configured."""
        return f"maildir:{self._protocol.maildir_path}"

    async def site_name(self, domain: str) -> str:
        """The domain itself."""
        return domain

    def open(self, request: OpenRequest) -> MaildirSession:  # noqa: ARG002
        """A session."""
        return MaildirSession(self._services, self._protocol, self._template)


class MaildirKind:
    """Makes maildir channels."""

    options = MaildirProtocol

    def __init__(self, services: Services) -> None:
        self._services = services

    def make(self, protocol: MaildirProtocol) -> MaildirChannel:
        """The channel for one path template."""
        return MaildirChannel(self._services, protocol)

    def samples(self) -> Sequence[Sample]:
        """No numbers."""
        return ()
