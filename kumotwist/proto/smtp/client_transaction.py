r"""One mail transaction as the client sees it: `[RSET] MAIL RCPT... DATA`, body, result for each recipient.

With PIPELINING (RFC 2920) all commands go out at once and the replies are
matched by position, so a message costs two round trips; without, one command
at a time. LMTP (RFC 2033) answers the end of data once per accepted recipient.

What a reply means (RFC 5321 s4.3.2, and where a peer leaves the path, ours):

    reply                        recipients concerned     afterwards
    RSET or MAIL not 2yz         all                      go on reading, then RSET first
    RCPT not 2yz                 that one
    DATA not 354                 those accepted           RSET first
    DATA 354, none accepted      -                        a lone dot (RFC 2920 s3.1)
    DATA 354, MAIL refused but
      a recipient accepted       all                      disconnect: a dot would deliver an empty message
    end of data                  those accepted (LMTP: one each)
    421 anywhere                 all undecided            disconnect
    1yz, 3yz, 503 as a result    as above                 disconnect: out of step
    DATA 2yz                     those accepted, transient: nothing was delivered; disconnect

Public: `Transaction`, `DOT_COMMAND`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kumotwist.core.response import Response
from kumotwist.proto.smtp import client_body
from kumotwist.proto.smtp.client_commands import Step
from kumotwist.proto.smtp.client_replies import Reply

#: What responses to the end of data carry as their command.
DOT_COMMAND: Final = "."
_RSET: Final = "RSET\r\n"
_DATA: Final = "DATA\r\n"


class Transaction:
    """The exchange that sends one message to some recipients.

    After it is done `results` has one response per recipient, by position:
    2yz means delivered. `is_clean` tells that the server is ready for MAIL;
    otherwise the next transaction begins with RSET.
    """

    __slots__ = (
        "_accepted",
        "_body",
        "_dots",
        "_has_dots",
        "_index",
        "_is_lmtp",
        "_lines",
        "_mail",
        "_pipelines",
        "_refusal",
        "is_broken",
        "is_clean",
        "is_done",
        "results",
        "step",
    )

    def __init__(
        self,
        mail: str,
        recipients: Sequence[str],
        body: bytes,
        *,
        resets: bool = False,
        pipelines: bool = True,
        is_lmtp: bool = False,
        has_dots: bool = True,
    ) -> None:
        """`mail` is the MAIL command and `recipients` RCPT commands, each with its CRLF; `body` is not yet stuffed.

        Without `has_dots` it is known that nothing in it needs stuffing.
        """
        self._lines = [_RSET, mail, *recipients, _DATA] if resets else [mail, *recipients, _DATA]
        self._mail = 1 if resets else 0
        self._body = body
        self._has_dots = has_dots
        self._pipelines = pipelines
        self._is_lmtp = is_lmtp
        self._index = 0
        self._accepted: list[int] = []
        self._dots = 0
        self._refusal: Response | None = None
        self.results: list[Response | None] = [None] * len(recipients)
        self.step = Step.RSET if resets else Step.MAIL
        self.is_done = False
        self.is_broken = False
        self.is_clean = False

    @property
    def waiting_for(self) -> str:
        """The command whose reply comes next."""
        return DOT_COMMAND if self.step is Step.DOT else self._lines[self._index].rstrip()

    @property
    def failure(self) -> Response | None:
        """What failed it as a whole, for those recipients that had no verdict of their own."""
        return self._refusal

    def opening(self) -> bytes:
        """All commands, or the first."""
        return ("".join(self._lines) if self._pipelines else self._lines[0]).encode()

    def on_reply(self, reply: Reply) -> Sequence[bytes]:
        """Match `reply` to its command; the next command or the body when it is their turn."""
        if reply.code == 421:
            return self._break(reply.response(self._command()))
        step = self.step
        if step is Step.DOT:
            return self._on_dot(reply)
        if step is Step.DATA:
            return self._on_data(reply)
        if step is Step.RCPT:
            self._on_rcpt(reply)
        elif reply.code >= 300 and self._refusal is None:
            self._refusal = self._refuse(reply)
        self._index += 1
        return self._advance()

    def fail(self, response: Response) -> None:
        """End it with `response` for everyone undecided: the connection is gone."""
        self._break(response)

    # -- one reply each --------------------------------------------------------------------------

    def _on_rcpt(self, reply: Reply) -> None:
        position = self._index - self._mail - 1
        if reply.code < 300:
            self._accepted.append(position)
        elif self._refusal is None:
            self.results[position] = self._refuse(reply)

    def _on_data(self, reply: Reply) -> Sequence[bytes]:
        if reply.code != 354:
            if self._accepted and self._refusal is None:
                self._refusal = self._refuse(reply)
            return self._finish()
        self.step = Step.DOT
        if self._accepted:
            if self._refusal is not None:
                return self._break(self._refusal)
            return client_body.encode(self._body, self._has_dots)
        return (client_body.END,)

    def _on_dot(self, reply: Reply) -> Sequence[bytes]:
        if not self._accepted:
            return self._finish()
        response = self._refuse(reply) if reply.code >= 300 else reply.response(DOT_COMMAND)
        targets = self._accepted[self._dots : self._dots + 1] if self._is_lmtp else self._accepted
        for position in targets:
            self.results[position] = response
        self._dots += len(targets)
        if self._dots < len(self._accepted):
            return ()
        self.is_clean = reply.code < 300
        return self._finish()

    # -- transitions -----------------------------------------------------------------------------

    def _advance(self) -> Sequence[bytes]:
        """Step on to the command at `_index`; without pipelining also say it, if it still makes sense."""
        last = len(self._lines) - 1
        if self._index == last:
            self.step = Step.DATA
        else:
            self.step = Step.MAIL if self._index == self._mail else Step.RCPT
        if self._pipelines:
            return ()
        if self._refusal is not None or (self.step is Step.DATA and not self._accepted):
            return self._finish()
        return (self._lines[self._index].encode(),)

    def _command(self) -> str:
        return DOT_COMMAND if self.step is Step.DOT else self._lines[self._index]

    def _refuse(self, reply: Reply) -> Response:
        """The reply as somebody's response; a reply out of step also breaks the connection."""
        code, command = reply.code, self._command()
        if 400 <= code < 600 and code != 503:
            return reply.response(command)
        self.is_broken = True
        if code < 300:
            shown = f"unexpected response to {command.rstrip()}: {code} {reply.text}"
            return Response(400, f"KumoMTA internal: error in deliver_message: {shown}", None, command)
        return reply.response(command)

    def _break(self, response: Response) -> Sequence[bytes]:
        self.is_broken = True
        self._refusal = response
        return self._finish()

    def _finish(self) -> Sequence[bytes]:
        self.is_done = True
        results = self.results
        if self._refusal is not None:
            for position, result in enumerate(results):
                if result is None:
                    results[position] = self._refusal
        return ()
