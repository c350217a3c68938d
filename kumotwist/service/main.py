"""The console script `kumotwist`: run the daemon, check a policy, run a policy's script, try things out.

`kumotwist run` is `twistd --nodaemon kumo` with the same options, on the
reactor that worker processes have (`service.reactor`); `twistd` itself chooses
one before we are asked. Exit status: 0 when all is well, 1 when the daemon or
the policy fails, 2 for a wrong command line (twistd's own is 1).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

USAGE: Final = """\
usage: kumotwist COMMAND [options]

  run          start the daemon in the foreground (see `kumotwist run --help`)
  validate     check a policy without opening a port: kumotwist validate --policy PATH
  script       run a policy's `main` event: kumotwist script --policy PATH [-- ARGUMENTS]
  explain      tell what a policy would do with a message: kumotwist explain --policy PATH MESSAGE --to ADDRESS
               or what a running daemon will do with one in its queue: kumotwist explain --id ID
  replay       yesterday's log against a new policy: kumotwist replay --policy NEW --log DIR
  simulate     outages against the choice among routes: kumotwist simulate --scenario all
  policy-test  run the Lua tests of a policy: kumotwist policy-test DIR
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `arguments` (those of the process by default) and return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = _COMMANDS.get(words[0]) if words else None
    if command is None:
        out = sys.stdout if words and words[0] in ("-h", "--help", "help") else sys.stderr
        if words and out is sys.stderr:
            print(f"kumotwist: there is no command {words[0]!r}\n", file=out)
        print(USAGE, file=out, end="")
        return 0 if out is sys.stdout else 2
    try:
        status = command(words[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads has seen enough, as `head` has; what is left to be written at exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def run(arguments: Sequence[str]) -> int:
    """The daemon, until it is told to stop."""
    if "--validate" in arguments:
        return validate([word for word in arguments if word != "--validate"])
    if "--script" in arguments:
        return script([word for word in arguments if word != "--script"])
    from kumotwist.service import reactor

    # The first to be installed is the process's. With `--workers 0` it carries the mail: 60 of 970 calls fewer.
    reactor.install()
    from twisted.python import usage
    from twisted.scripts import twistd

    from kumotwist.service.options import Options

    options: Any = Options()  # type: ignore[no-untyped-call]  # Twisted does not type its parser
    options.synopsis = "usage: kumotwist run [options]"
    try:
        # twistd would name itself, and print all of its usage for a mistake.
        options.parseOptions(list(arguments))
    except usage.UsageError as error:
        sys.stderr.write(f"kumotwist run: {error}; see `kumotwist run --help`\n")
        return 2
    sys.argv = ["kumotwist", "--nodaemon", "--pidfile=", "kumo", *arguments]
    twistd.run()
    return 0


def validate(arguments: Sequence[str]) -> int:
    """Check a policy; errors go to stderr with file and line."""
    from kumotwist.service import offline

    return offline.validate(arguments)


def script(arguments: Sequence[str]) -> int:
    """Run the `main` event of a policy."""
    from kumotwist.service import offline

    return offline.script(arguments)


def explain(arguments: Sequence[str]) -> int:
    """Tell what a policy would do with a message."""
    from kumotwist.service import tryout

    return tryout.explain(arguments)


def replay(arguments: Sequence[str]) -> int:
    """Tell what of a log would go elsewhere under another policy."""
    from kumotwist.service import tryout

    return tryout.replay(arguments)


def simulate(arguments: Sequence[str]) -> int:
    """See what outages would do to a route table."""
    from kumotwist.trial import simulate as command

    asked = command.question(arguments)
    if asked.policy is None:
        return command.run(asked)
    from kumotwist.service import tryout

    table = tryout.table(asked)
    # Their reactor has ended: this takes seconds of one core.
    return table if isinstance(table, int) else command.run(asked, table)


def policy_test(arguments: Sequence[str]) -> int:
    """Run the tests that users wrote for their policy."""
    from twisted.logger import globalLogBeginner

    from kumotwist.trial.policytest import command

    # A failure shows what was logged; nothing else is to be said.
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    return command.main(arguments)


_COMMANDS: Final[Mapping[str, Callable[[Sequence[str]], int]]] = {
    "run": run,
    "validate": validate,
    "script": script,
    "explain": explain,
    "replay": replay,
    "simulate": simulate,
    "policy-test": policy_test,
}

if __name__ == "__main__":
    sys.exit(main())
