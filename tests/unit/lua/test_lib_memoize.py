"""kumo.memoize: functions that remember, across handlers and across policies."""

import gc
import weakref

import pytest
from support.luabox import LuaBox
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from kumotwist.core.errors import PolicyError, Rejection
from kumotwist.lua.lib.memocache import MemoCaches
from kumotwist.lua.lib.memoize import MemoizeLibrary
from kumotwist.lua.lib.time import SleepAlias, TimeLibrary
from kumotwist.net.tasks import Tasks


class Counter:
    """`kumo.count(...)`: tells the test that the memoized function really ran."""

    namespace = ""

    def __init__(self):
        self.calls = []

    def functions(self):
        return {"count": self.count}

    def count(self, *args):
        self.calls.append(args)
        return len(self.calls)


class World:
    """The libraries of one process; `epoch` moves on by hand."""

    def __init__(self):
        self.clock, self.counter, self.epoch = Clock(), Counter(), 1
        self.caches = MemoCaches(self.clock, Tasks())
        self.box = LuaBox(
            MemoizeLibrary(self.caches, lambda: self.epoch), self.counter, SleepAlias(TimeLibrary(self.clock))
        )

    def start(self, source):
        return Deferred.fromCoroutine(self.box.run(source))

    def now(self, source):
        return self.box.now(source)


@pytest.fixture
def world():
    return World()


def memoized(body, **options):
    options = {"name": "'it'", "ttl": "'5 minutes'", "capacity": "100", **options}
    params = ", ".join(f"{name} = {value}" for name, value in options.items())
    return f"local f = kumo.memoize(function(...) {body} end, {{ {params} }})\n"


COUNT = memoized("return kumo.count(...)")


def test_equal_arguments_are_answered_from_memory(world):
    """One call for each set of arguments, until the ttl is over."""
    assert world.now(COUNT + "return f('a', 1), f('a', 1), f('b'), f('a', 1)") == (1, 1, 2, 1)
    world.clock.advance(299)
    assert world.now(COUNT + "return f('a', 1)") == 1
    world.clock.advance(2)
    assert world.now(COUNT + "return f('a', 1)") == 3


def test_the_cache_belongs_to_its_name_in_the_whole_process(world):
    """Another handler, and a policy loaded anew, find what was remembered; another name does not."""
    assert world.now(COUNT + "return f('a')") == 1
    world.epoch += 1
    assert world.now(COUNT + "return f('a')") == 1
    assert world.now(memoized("return kumo.count(...)", name="'other'") + "return f('a')") == 2


def test_a_cache_can_end_with_its_policy(world):
    """`invalidate_with_epoch` forgets when the policy changes."""
    source = memoized("return kumo.count(...)", invalidate_with_epoch="true") + "return f('a')"
    assert world.now(source) == 1
    assert world.now(source) == 1
    world.epoch += 1
    assert world.now(source) == 2


def test_changed_options_begin_a_new_cache(world):
    """Another ttl is another cache."""
    assert world.now(COUNT + "return f('a')") == 1
    assert world.now(memoized("return kumo.count(...)", ttl="'1 minute'") + "return f('a')") == 2


def test_the_least_recently_used_goes_first(world):
    """`capacity` bounds what is remembered."""
    source = memoized("return kumo.count(...)", capacity="2")
    assert world.now(source + "return f('a'), f('b'), f('a'), f('c'), f('a'), f('b')") == (1, 2, 1, 3, 1, 4)


@pytest.mark.parametrize(
    ("body", "check"),
    [
        ("return { a = { 1, 2 } }", "assert(f().a[2] == 2); f().a[2] = 9; assert(f().a[2] == 2)"),
        ("return nil", "assert(f() == nil and f() == nil)"),
        ("", "assert(f() == nil)"),
        ("return false", "assert(f() == false)"),
        ("return '\\xff'", "assert(f() == '\\xff')"),
        ("return 1, 'b'", "local r = f(); assert(r[1] == 1 and r[2] == 'b')"),
        ("return function(x) return x + 1 end", "assert(f()(1) == 2)"),
    ],
)
def test_what_is_remembered_comes_back_the_same(world, body, check):
    """Any value; a table comes as a copy, several results as one list."""
    world.now(memoized(f"kumo.count(); {body}") + f"{check}\n{check}")
    assert len(world.counter.calls) == 1


def test_many_who_ask_at_once_make_one_call(world):
    """While the function waits, all who ask for the same wait for it."""
    slow = memoized("kumo.sleep(5); return kumo.count(...)") + "return f('a')"
    work = [world.start(slow) for _ in range(5)]
    assert not any(one.called for one in work)
    world.clock.advance(5)
    assert [one.result for one in work] == [1] * 5


def test_a_failure_is_kept_for_a_minute_and_told_to_everyone(world):
    """A broken look-up is not repeated for each message."""
    source = memoized("kumo.count(); error('broken')") + "return f('a')"
    for _ in range(3):
        with pytest.raises(PolicyError, match="broken"):
            world.now(source)
    assert len(world.counter.calls) == 1
    world.clock.advance(61)
    with pytest.raises(PolicyError, match="broken"):
        world.now(source)
    assert len(world.counter.calls) == 2


def test_a_rejection_stays_a_rejection(world):
    """kumo.reject inside a memoized function rejects for everyone who asks."""

    class Rejects:
        namespace = ""

        def functions(self):
            return {"no": self.no}

        def no(self):
            raise Rejection(550, "no such tenant")

    box = LuaBox(MemoizeLibrary(world.caches, lambda: 1), Rejects())
    for _ in range(2):
        with pytest.raises(Rejection, match="550 no such tenant"):
            box.now(memoized("kumo.no()") + "f('a')")


def test_a_function_that_takes_too_long_is_given_up(world):
    """`populate_timeout` bounds one call; the failure is kept like any other."""
    source = memoized("kumo.count(); kumo.sleep(60)", populate_timeout="'10s'") + "return f('a')"
    work = world.start(source)
    world.clock.advance(11)
    assert "memoized it: no result within 10 s" in work.result.getErrorMessage()
    work.addErrback(lambda failure: failure.trap(PolicyError))
    with pytest.raises(PolicyError, match="no result within 10 s"):
        world.now(source)
    assert len(world.counter.calls) == 1


def test_a_slow_function_may_be_tried_again(world):
    """`retry_on_populate_timeout` makes three tries before it fails."""
    source = memoized(
        "if kumo.count() < 3 then kumo.sleep(60) end; return 'at last'",
        populate_timeout="'10s'",
        retry_on_populate_timeout="true",
    )
    work = world.start(source + "return f('a')")
    world.clock.advance(11)
    assert not work.called
    world.clock.advance(11)
    assert work.result == "at last"


def test_stale_reads(world):
    """`allow_stale_reads` answers at once with the old result and makes a new one beside, also when that fails."""
    source = (
        memoized(
            "kumo.sleep(5); local n = kumo.count(); if n == 2 then error('x') end; return n", allow_stale_reads="true"
        )
        + "return f('a')"
    )
    work = world.start(source)
    world.clock.advance(5)
    assert work.result == 1
    world.clock.advance(301)
    assert world.now(source) == 1
    world.clock.advance(5)  # the second call fails
    assert world.now(source) == 1
    world.clock.advance(5)
    assert world.now(source) == 3


@pytest.mark.parametrize(
    ("lua", "text"),
    [
        ("kumo.memoize(function() end, { name = 'x', ttl = 1 })", "capacity"),
        ("kumo.memoize(function() end, { name = 'x', ttl = 1, capacity = 0 })", "'capacity' must be at least 1"),
        ("kumo.memoize(function() end, { name = 'x', ttl = 1, capacity = 1, tll = 1 })", "did you mean 'ttl'"),
        ("kumo.memoize('f', { name = 'x', ttl = 1, capacity = 1 })", "must be a function"),
        ("kumo.memoize(function() end, { name = 'x', ttl = 1, capacity = 1 })(print)", "holds a function"),
    ],
)
def test_mistakes_are_told_in_words(world, lua, text):
    """Options and arguments that cannot be are named."""
    with pytest.raises(PolicyError, match=text):
        world.now(f"return {lua}")


def test_a_policy_that_is_gone_leaves_no_memory_behind(world):
    """The cache outlives a policy, but does not keep its Lua runtime alive."""
    from kumotwist.lua.bridge import Bridge
    from kumotwist.lua.engine import Settings

    library = MemoizeLibrary(world.caches, lambda: 1)
    bridge = Bridge(Settings(), {})
    bridge.engine.install("", library.functions())
    source = (
        "local kumo = require 'kumo'; F = kumo.memoize(function() return 1 end, {name='g', ttl=9, capacity=9}); F()"
    )
    Deferred.fromCoroutine(bridge.main(source.encode(), "p.lua"))
    gone = weakref.ref(bridge.engine)
    del bridge
    gc.collect()
    assert gone() is None
