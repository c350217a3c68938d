"""Trying a policy out without the daemon: `kumotwist explain`, `replay` and the policy's part of `simulate`.

Apart from `service.offline`, so that `validate` and `script` load nothing of
it. Nothing is sent. Public: `explain`, `replay`, `table`; `in_time` for tests. Exit status as there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Coroutine, Sequence
from typing import Any, Final

import msgspec
from twisted.internet import defer
from twisted.internet.defer import Deferred

from kumotwist.admin import explanation
from kumotwist.config.routes import RouteTableConfig
from kumotwist.core.errors import ConfigError
from kumotwist.core.message import Message
from kumotwist.net.blocking import BlockingThreads
from kumotwist.service.offline import Offline, with_policy
from kumotwist.service.options import DEFAULT_POLICY
from kumotwist.trial import live, question
from kumotwist.trial import replay as replay_command
from kumotwist.trial.explain import as_text
from kumotwist.trial.judge import Judge
from kumotwist.trial.tables import table_of

#: Seconds that an explanation may take. Ours: three handlers that wait as long as `validate` lets each of them.
_PATIENCE: Final = 60.0


def explain(arguments: Sequence[str]) -> int:
    """Tell what a policy would do with a message; nothing is sent."""
    asked = question.question(arguments, DEFAULT_POLICY)
    if asked.id is not None:
        return _asked_of_a_daemon(asked)
    return with_policy(asked.policy, lambda offline: in_time(offline, _explained(offline, asked)))


def replay(arguments: Sequence[str]) -> int:
    """Tell what of a log would go elsewhere under a policy; nothing is sent."""
    asked = replay_command.question(arguments, DEFAULT_POLICY)
    return with_policy(asked.policy, lambda offline: _replayed(offline, asked))


def table(asked: argparse.Namespace) -> RouteTableConfig | int:
    """The route table that a simulation is about; the exit status when the policy gives none."""
    found: list[RouteTableConfig] = []
    status = with_policy(asked.policy, lambda offline: _tabled(offline, asked, found))
    return found[0] if found else status


async def in_time(offline: Offline, work: Coroutine[Any, Any, int]) -> int:
    """The status of `work`. Raises ConfigError when it does not end."""
    try:
        return await Deferred.fromCoroutine(work).addTimeout(_PATIENCE, offline.reactor)
    except defer.TimeoutError:
        raise ConfigError(f"no answer within {_PATIENCE:g} s: a handler, DNS or a secret takes too long") from None


async def _explained(offline: Offline, asked: argparse.Namespace) -> int:
    services = offline.services
    policy = await offline.load()
    message = Message(
        services.ids(),
        asked.sender,
        tuple(asked.to),
        asked.meta,
        asked.content,
    )
    session = None
    if not asked.http:
        try:
            session = offline.session(policy, asked.visitor)
        except ConfigError as error:
            sys.stderr.write(f"kumotwist explain: --listener: {error}\n")
            return 2
    channels = offline.channels(policy)
    try:
        told = await explanation.explain(
            message,
            policy,
            channels.channel_for,
            services.clock.seconds(),
            session,
            offline.present(),
        )
    finally:
        await channels.close()
    sys.stdout.write(msgspec.json.encode(told).decode() + "\n" if asked.json else as_text(told))
    has_failed = any(handler.problem for handler in told.handlers)
    return 1 if has_failed or (told.way is not None and told.way.problem) else 0


def _asked_of_a_daemon(asked: argparse.Namespace) -> int:
    try:
        answer, told = live.ask(asked.daemon, asked.id)
    except ConfigError as error:
        sys.stderr.write(f"kumotwist explain: {error}\n")
        return 2
    sys.stdout.write(answer.decode() + "\n" if asked.json else as_text(told))
    return 1 if told.way is not None and told.way.problem else 0


async def _replayed(offline: Offline, asked: argparse.Namespace) -> int:
    policy = await offline.load()
    channels = offline.channels(policy)
    threads = BlockingThreads(offline.reactor, "log", 1, 1)
    judge = Judge(policy, channels.channel_for, offline.services.clock.seconds, policy if asked.handlers else None)
    try:
        return await replay_command.replay(asked, judge, threads)
    finally:
        await threads.close()
        await channels.close()


async def _tabled(offline: Offline, asked: argparse.Namespace, found: list[RouteTableConfig]) -> int:
    policy = await offline.load()
    try:
        found.append(await table_of(policy, asked.table, asked.queue))
    except ConfigError as error:
        sys.stderr.write(f"kumotwist simulate: {error}\n")
        return 2
    return 0
