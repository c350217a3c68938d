"""What `kumotwist explain` is asked: the command line, and the message that it names, or the id of one in a queue.

The message is what SMTP would bring: lines end with CRLF, whatever they do in
the file. Nothing else of it is changed.

Public: `question`. What can go wrong: SystemExit with status 2, and one line that says why.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from kumotwist.admin import asked as read
from kumotwist.intake.smtp.imagined import Visitor
from kumotwist.trial.commandline import CommandLine

_T = TypeVar("_T")

#: Octets of a message that is read. Ours: more than any listener takes unless it is told to (20 MiB).
_MAX_MESSAGE: Final = 128 * 1024 * 1024
#: Where a daemon listens unless its policy says otherwise.
_DAEMON: Final = "http://127.0.0.1:8000"
#: Options about the SMTP client, and what they are called there.
_SESSION: Final = {"peer": "peer", "helo": "hello", "user": "user", "listener": "listener"}
#: RFC 5322 s2.2: a name of printable characters, and a colon.
_HEADER: Final = re.compile(rb"[!-9;-~]+[ \t]*:")


def question(arguments: Sequence[str], default_policy: str) -> argparse.Namespace:
    """The command line, with `content` for the message as octets, or an `id`. Exits with 2 when it is wrong."""
    parser = _parser(default_policy)
    asked = parser.parse_args(arguments)
    if asked.id is not None:
        return _of_a_queue(parser, asked)
    if asked.daemon is not None:
        parser.error("--daemon is asked about an --id")
    session = {name: getattr(asked, name) for name in _SESSION if getattr(asked, name) is not None}
    if asked.http and session:
        parser.error(f"--{next(iter(session))} is about a message that comes by SMTP")
    asked.visitor = Visitor(**{_SESSION[name]: value for name, value in session.items()})
    missing = [name for name, value in (("FILE", asked.message), ("--to", asked.to)) if value is None]
    if missing:
        parser.error(f"the following arguments are required: {', '.join(missing)}")
    asked.policy = asked.policy if asked.policy is not None else default_policy
    asked.sender = asked.sender if asked.sender is not None else read.sender("")
    asked.meta = read.metadata(asked.to, dict(asked.meta))
    try:
        asked.content = _content(asked.message)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        parser.exit(2, f"kumotwist explain: {asked.message}: {why}\n")
    return asked


def _parser(default_policy: str) -> CommandLine:
    parser = CommandLine(
        prog="kumotwist explain", description="What a policy would do with a message; nothing is sent."
    )
    add = parser.add_argument
    add("message", metavar="FILE", nargs="?", help="the message, an RFC 5322 text; - reads standard input")
    add("--id", metavar="ID", help="instead: a message in the queue of a running daemon; what becomes of it next")
    add("--daemon", metavar="URL", help=f"where that daemon listens for HTTP; {_DAEMON} unless said")
    add("--policy", help=f"{default_policy} unless said")
    add(
        "--from",
        dest="sender",
        type=_reading(read.sender),
        help="the envelope's sender; none: a bounce's, <>",
    )
    add(
        "--to",
        type=_reading(read.recipient),
        action="append",
        help="a mailbox or a phone number; may be repeated",
    )
    add("--meta", type=_named, action="append", default=[], metavar="NAME=VALUE", help="metadata that is there before")
    add(
        "--peer",
        type=_reading(read.address),
        metavar="ADDRESS",
        help="the SMTP client's; 127.0.0.1 unless said",
    )
    add("--helo", metavar="NAME", help="what it says in EHLO; localhost unless said")
    add("--user", metavar="NAME", help="who it has logged in as; nobody unless said")
    add("--listener", type=int, metavar="NUMBER", help="the ESMTP listener that it connects to; the first unless said")
    add("--http", action="store_true", help="it comes in by HTTP; otherwise by SMTP")
    add("--json", action="store_true", help="for programs; docs/explain.md says what is in it")
    return parser


def _of_a_queue(parser: CommandLine, asked: argparse.Namespace) -> argparse.Namespace:
    """The command line of a question about a message in a queue, which has envelope, metadata and policy of its own."""
    others = (asked.message, asked.policy, asked.sender, asked.to, asked.meta or None, asked.http or None)
    if any(one is not None for one in (*others, *[getattr(asked, name) for name in _SESSION])):
        parser.error("--id goes with --daemon and --json only: the message is in the queue")
    asked.daemon = asked.daemon if asked.daemon is not None else _DAEMON
    return asked


def _content(name: str) -> bytes:
    """The message. Raises OSError, ValueError."""
    if name == "-":
        data = sys.stdin.buffer.read(_MAX_MESSAGE + 1)
    else:
        with Path(name).open("rb") as file:
            data = file.read(_MAX_MESSAGE + 1)
    if not data:
        raise ValueError("is empty; a message has header lines, such as Subject: hi")
    if len(data) > _MAX_MESSAGE:
        raise ValueError(f"has more than {_MAX_MESSAGE:,} octets")
    if data.startswith(b"From "):
        raise ValueError("begins as a mailbox file does, with 'From '; save the message without that line")
    if _HEADER.match(data) is None:
        sys.stderr.write(f"note: {name} does not begin with a header line: policy sees a message without headers\n")
    return data if b"\r\n" in data else data.replace(b"\n", b"\r\n")


def _reading(read_it: Callable[[str], _T]) -> Callable[[str], _T]:
    """The same, with errors as argparse shows them."""

    def read_or_refuse(text: str) -> _T:
        try:
            return read_it(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read_or_refuse


def _named(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    if not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r} is not all printable text")
    return name, value
