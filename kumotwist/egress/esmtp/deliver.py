"""One message over one connection: shares its recipients out over transactions.

A transaction takes `max_recipients_per_batch` recipients at most; those that
the server calls too many go into the next one at once.

Public: `Delivery`, one for each connection. Nothing is raised but
CancelledError: a connection that breaks is in the responses.
"""

from __future__ import annotations

from collections.abc import Sequence

from kumotwist.core.interfaces import OpenRequest
from kumotwist.core.message import Message
from kumotwist.core.response import Response
from kumotwist.egress.esmtp.connect import Link
from kumotwist.egress.esmtp.outcomes import is_too_many
from kumotwist.egress.esmtp.trouble import ConnectionGone, WireTrouble
from kumotwist.proto.smtp.client_envelope import mail_command, rcpt_command
from kumotwist.proto.smtp.client_transaction import DOT_COMMAND, Transaction


class Delivery:
    """Sends messages over `link`; knows when RSET is due.

    `undecided` are the positions, in the message last sent, of recipients whose
    response comes from a broken connection and not from the peer; of these,
    the peer may have taken the message for those in `unknown`.
    """

    __slots__ = ("_is_clean", "_is_fresh", "_path", "_site", "link", "undecided", "unknown")

    def __init__(self, link: Link, request: OpenRequest) -> None:
        self.link = link
        self._path = request.path
        self._site = request.site
        self._is_fresh = True
        self._is_clean = True
        self.undecided: list[int] = []
        self.unknown: frozenset[int] = frozenset()

    async def send(self, message: Message, only: Sequence[int] | None = None) -> list[Response]:
        """A response for each recipient, by position; of those not in `only` it means nothing."""
        recipients, offered = message.recipients, self.link.wire.capabilities
        body, lenient = message.body or b"", self._path.ignore_8bit_checks
        positions = range(len(recipients)) if only is None else only
        self.undecided, self.unknown = [], frozenset()
        has_utf8 = not all(recipient.is_ascii for recipient in recipients)
        mail = mail_command(message.sender, body, has_utf8, offered, lenient)
        if isinstance(mail, Response):
            return [mail] * len(recipients)
        results = [_UNSENT] * len(recipients)
        commands: dict[int, str] = {}
        for position in positions:
            line = rcpt_command(recipients[position], offered, lenient)
            if isinstance(line, Response):
                results[position] = line
            else:
                commands[position] = line
        if commands:
            await self._send_all(mail, commands, message, results)
        return results

    async def _send_all(self, mail: str, commands: dict[int, str], message: Message, results: list[Response]) -> None:
        """Transactions until every recipient in `commands` has its result or the connection breaks."""
        waiting = list(commands)
        limit = max(self._path.max_recipients_per_batch, 1)
        doubted: set[int] = set()
        while waiting:
            turn, waiting = waiting[:limit], waiting[limit:]
            transaction = self._transaction(mail, [commands[position] for position in turn], message)
            trouble, is_unknown = await self._run(transaction)
            surplus = self._collect(turn, transaction, results, doubted)
            if trouble is not None:
                self.undecided = [one for one in turn if results[one] is trouble]
                self.unknown = frozenset(self.undecided if is_unknown else ())
            waiting = surplus + waiting
            if not self.link.wire.is_usable:
                self._abandon(waiting, transaction, trouble, results)
                return

    def _transaction(self, mail: str, rcpts: Sequence[str], message: Message) -> Transaction:
        # RSET before the first message makes some servers drop us (KumoMTA, Postfix's junk command limit).
        resets = not self._is_fresh and (self._path.enable_rset or not self._is_clean)
        return Transaction(
            mail,
            rcpts,
            message.body or b"",
            resets=resets,
            pipelines=self._path.enable_pipelining and self.link.wire.capabilities.has_pipelining,
            is_lmtp=self._path.use_lmtp,
            has_dots=message.has_dots,
        )

    async def _run(self, transaction: Transaction) -> tuple[Response | None, bool]:
        """Run it; the response for whoever is undecided when the connection broke, who may have it all the same."""
        self._is_fresh = False
        trouble, is_unknown = None, False
        try:
            await self.link.wire.run(transaction)
        except WireTrouble as error:
            trouble = error.response(self._site, self.link.addr)
            is_unknown = error.waiting_for == DOT_COMMAND and self.link.wire.has_sent_all
            transaction.fail(trouble)
        self._is_clean = transaction.is_clean
        return trouble, is_unknown

    def _collect(
        self, turn: Sequence[int], transaction: Transaction, results: list[Response], doubted: set[int]
    ) -> list[int]:
        """Take over the results of `turn`; the positions that were too many for this transaction."""
        surplus = []
        for place, (position, result) in enumerate(zip(turn, transaction.results, strict=True)):
            assert result is not None
            results[position] = result
            if place and result.code in (452, 552):
                verdict = is_too_many(result)
                if verdict == "yes" or (verdict == "perhaps" and position not in doubted):
                    doubted.add(position)
                    surplus.append(position)
        return surplus

    def _abandon(
        self, waiting: Sequence[int], transaction: Transaction, trouble: Response | None, results: list[Response]
    ) -> None:
        """Those who had no turn share the fate of the connection."""
        why = trouble or transaction.failure
        if why is None:
            why = ConnectionGone(self.link.wire.ending).response(self._site, self.link.addr)
        for position in waiting:
            results[position] = why
        if trouble is not None:
            self.undecided.extend(waiting)


#: Stands for recipients that are not asked about.
_UNSENT = Response(400, "KumoMTA internal: not sent")
