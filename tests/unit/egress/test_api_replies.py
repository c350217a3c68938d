"""Replies that no document describes: every provider's reader gives each recipient an outcome, whatever comes."""

import json
from functools import cache
from importlib import import_module

from contract.test_api_channels import PROVIDERS
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.fakes_egress import make_message

from kumotwist.config.keysource import LiteralKey
from kumotwist.core.outcome import Peer
from kumotwist.core.receipt import MAX_TEXT
from kumotwist.egress.api.dialect import Call, Unreadable
from kumotwist.egress.api.judge import Judge
from kumotwist.egress.protocols import load
from kumotwist.net.http import HttpResponse

PEER = Peer("api.test", "api.test", "HTTP")
NOW = 1_700_000_000.0
CODES = st.sampled_from((200, 201, 202, 204, 207, 302, 400, 401, 403, 404, 409, 410, 413, 422, 429, 500, 503))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20), st.just("x" * 5000)
)

URL = "https://api.test"


class World:
    """A provider's dialect, a call of it, and the words that its replies are made of."""

    def __init__(self, name):
        self.case = import_module(f"support.apicases.{name}").CASE
        kind = load(self.case.name)
        maker = kind.__new__(kind)
        maker.judge = lambda peer, rules, options: Judge(peer, rules, options.rest, lambda: NOW)
        given = [URL, LiteralKey(self.case.secret.encode())]
        options = self.case.options(*given, *["https://tokens.test"] * self.case.has_tokens)
        self.dialect = maker.dialect(options, PEER)
        message = make_message(*self.case.recipients, body=self.case.body, meta=self.case.meta_at(URL))
        (self.call,) = self.dialect.plan([message], NOW)
        assert isinstance(self.call, Call)
        said = [self.case.accepted, *self.case.permanent, *self.case.account, *self.case.transient]
        said += [one for one, _ in self.case.throttled]
        self.words, self.values = set(), []
        for one in said:
            self._learn(one.body)

    def _learn(self, value):
        if isinstance(value, dict):
            self.words |= set(value)
            for one in value.values():
                self._learn(one)
        elif isinstance(value, list):
            for one in value:
                self._learn(one)
        elif not isinstance(value, bytes):
            self.values.append(value)

    def replies(self):
        """Objects of the provider's own words in any order and depth, with values that may stand there or not."""
        keys = st.sampled_from(sorted(self.words) or ["error"])
        known = st.sampled_from(self.values) if self.values else st.nothing()
        inner = st.one_of(SCALARS, known)
        return st.recursive(
            inner,
            lambda more: st.one_of(st.lists(more, max_size=3), st.dictionaries(keys, more, max_size=4)),
            max_leaves=12,
        )


world_of = cache(World)


# The provider is drawn, not a parameter: pytest-twisted wraps the inner test of hypothesis once for each parameter.
@settings(max_examples=examples(500))
@given(name=st.sampled_from(PROVIDERS), data=st.data())
def test_whatever_a_provider_says_has_a_meaning(name, data):
    """One outcome for each recipient, of printable text within bounds; or an honest "nobody knows"."""
    world = world_of(name)
    value = data.draw(world.replies())
    body = data.draw(st.one_of(st.just(json.dumps(value).encode()), st.binary(max_size=40)))
    headers = data.draw(
        st.lists(st.tuples(st.sampled_from(("Retry-After", "Location")), st.text("0123456789ab: ", max_size=9)))
    )
    reply = HttpResponse(data.draw(CODES), headers, body)
    try:
        outcomes = world.dialect.classify(world.call, reply)
    except Unreadable:
        assert 200 <= reply.code < 300
        return
    assert len(outcomes) == len(world.call.targets)
    for one in outcomes:
        assert len(one.response.content) <= MAX_TEXT
        assert "\n" not in one.response.content
        assert one.retry_after is None or one.retry_after > 0
        assert one.remote_id is None or (isinstance(one.remote_id, str) and one.remote_id)
        assert isinstance(one.parts, int)
        assert one.parts >= 1
