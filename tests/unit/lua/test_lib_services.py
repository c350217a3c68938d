"""kumo.secrets, dns, fs, aaa and make_throttle, as a policy uses them."""

import os

import pytest
from pytest_twisted import ensureDeferred
from support.luabox import LuaBox
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from kumotwist.config.keysource import EventKey, FileKey, LiteralKey, VaultKey
from kumotwist.config.records import AcctLogConfig
from kumotwist.core.address import EnvelopeAddress
from kumotwist.core.connection import AuthInfo
from kumotwist.core.errors import PolicyError, SecretUnavailable
from kumotwist.core.ids import IdGenerator
from kumotwist.core.message import Message
from kumotwist.lua.binding import Opaque
from kumotwist.lua.convert import HostClass
from kumotwist.lua.lib.aaa import AaaLibrary
from kumotwist.lua.lib.dns import DnsLibrary
from kumotwist.lua.lib.fs import FsAliases, FsLibrary
from kumotwist.lua.lib.secrets import SecretsLibrary
from kumotwist.lua.lib.throttle import PREFIX, ThrottleLibrary
from kumotwist.net.blocking import BlockingThreads
from kumotwist.net.dns import StaticResolver
from kumotwist.net.dnsswitch import ConfigurableResolver
from kumotwist.queue.throttle import LocalLimits


class Keys:
    """Remembers what was asked for."""

    def __init__(self, value=b"s3cret"):
        self.asked = []
        self.value = value

    async def load(self, source):
        self.asked.append(source)
        if self.value is None:
            raise SecretUnavailable("Vault secret secret/x at http://v: there is no such secret", permanent=True)
        return self.value


# -- secrets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lua", "source"),
    [
        ("'/etc/key'", FileKey("/etc/key")),
        ("{ key_data = '\\xff' }", LiteralKey(b"\xff")),
        ("{ event_name = 'get', event_args = { 'a', 1 } }", EventKey("get", ("a", 1))),
        ("{ vault_mount = 'secret', vault_path = 'x' }", VaultKey(vault_mount="secret", vault_path="x")),
    ],
)
def test_secrets_take_every_key_source(lua, source):
    """`kumo.secrets.load` returns the value as a string."""
    keys = Keys(b"\xffvalue")
    assert LuaBox(SecretsLibrary(keys)).now(f"return kumo.secrets.load({lua})") == b"\xffvalue"
    assert keys.asked == [source]


def test_a_missing_secret_can_be_caught():
    """It is a Lua error that names the source."""
    box = LuaBox(SecretsLibrary(Keys(None)))
    caught = box.now("return pcall(kumo.secrets.load, { vault_mount = 'secret', vault_path = 'x' })")
    assert caught[0] is False
    assert "there is no such secret" in caught[1]


def test_a_mistaken_key_source_is_told_without_its_value():
    """A wrong table names its mistake, never what it holds."""
    box = LuaBox(SecretsLibrary(Keys()))
    with pytest.raises(PolicyError, match=r"kumo\.secrets\.load: ") as caught:
        box.now("kumo.secrets.load { vault_mount = 'secret', vault_token = 't0ken', vault_pth = 'x' }")
    assert "t0ken" not in str(caught.value)


# -- DNS -----------------------------------------------------------------------------------------------

ZONE = """
$ORIGIN example.com.
@ 600 MX 10 mx2
@ 600 MX 10 mx1
@ 600 MX 20 backup
@ 600 TXT "v=spf1 -all"
mx1 A 192.0.2.1
mx1 AAAA 2001:db8::1
plain A 192.0.2.9
"""


@pytest.fixture
def dns():
    made = []
    switch = ConfigurableResolver(StaticResolver({}))

    def make(servers):
        made.append(list(servers))
        return StaticResolver({})

    library = DnsLibrary(switch, make)
    library.made = made
    return library


def test_lookups(dns):
    """The tables have the shape of KumoMTA's documentation."""
    LuaBox(dns).now(
        """
        kumo.dns.configure_resolver { Test = { zones = { ... } } }
        local mx = kumo.dns.lookup_mx 'example.com'
        assert(mx.domain_name == 'example.com.' and mx.is_mx and not mx.is_domain_literal and mx.mta_sts == 'None')
        assert(mx.is_secure == false)
        assert(table.concat(mx.by_pref[10], ',') == 'mx1.example.com.,mx2.example.com.')
        assert(table.concat(mx.hosts, ',') == 'mx1.example.com.,mx2.example.com.,backup.example.com.')
        assert(mx.site_name == '(mx1|mx2|backup).example.com')
        local plain = kumo.dns.lookup_mx 'plain.example.com'
        assert(not plain.is_mx and plain.hosts[1] == 'plain.example.com.' and plain.by_pref[1][1] == plain.hosts[1])
        local literal = kumo.dns.lookup_mx '[192.0.2.7]'
        assert(literal.is_domain_literal and literal.hosts[1] == '192.0.2.7')
        assert(table.concat(kumo.dns.lookup_addr 'mx1.example.com', ',') == '192.0.2.1,2001:db8::1')
        assert(table.concat(kumo.dns.lookup_addr('mx1.example.com', nil, 'Ipv6Only'), ',') == '2001:db8::1')
        assert(kumo.dns.lookup_txt('example.com')[1] == 'v=spf1 -all')
        """,
        ZONE,
    )


def test_resolvers_are_configured_for_the_whole_worker(dns):
    """Servers with and without port, in detail, IPv6; the test resolver; named ones."""
    LuaBox(dns).now(
        """
        kumo.dns.configure_resolver {
          name_servers = { '10.0.0.1:5353', '10.0.0.2', { socket_addr = '[2001:db8::53]:53', protocol = 'tcp' } },
          options = { edns0 = true },
        }
        kumo.dns.define_resolver('mine', { Test = { zones = { { zone = ..., secure = true } } } })
        assert(kumo.dns.lookup_txt('example.com', 'mine')[1] == 'v=spf1 -all')
        assert(not pcall(kumo.dns.lookup_txt, 'example.com'))
        kumo.dns.configure_test_resolver { ... }
        assert(pcall(kumo.dns.lookup_txt, 'example.com'))
        """,
        ZONE,
    )
    assert dns.made == [[("10.0.0.1", 5353), ("10.0.0.2", 53), ("2001:db8::53", 53)]]


@pytest.mark.parametrize(
    ("lua", "text"),
    [
        ("kumo.dns.lookup_addr 'nowhere.example'", "no such domain"),
        ("kumo.dns.lookup_txt('example.com', 'unheard')", "no resolver 'unheard' is defined"),
        ("kumo.dns.lookup_addr('example.com', nil, 'Ipv5')", "strategy must be one of"),
        ("kumo.dns.configure_resolver { name_server = {} }", "did you mean 'name_servers'"),
        ("kumo.dns.configure_resolver { Hickory = { name_server = {} } }", "unknown option 'Hickory.name_server'"),
        ("kumo.dns.configure_resolver { Test = { zones = { {} } } }", "option 'Test.zones.1.zone' is required"),
        ("kumo.dns.configure_resolver { name_servers = { 'ns:x' } }", "not a DNS server: 'ns:x'"),
        ("kumo.dns.configure_test_resolver { 'nonsense' }", "kumo.dns.configure_test_resolver: not a record"),
    ],
)
def test_dns_mistakes(dns, lua, text):
    """Names that do not exist and options that are wrong are told."""
    with pytest.raises(PolicyError, match=text):
        LuaBox(dns).now(lua)


# -- files ---------------------------------------------------------------------------------------------


@pytest.fixture
def files():
    clock = Clock()
    threads = BlockingThreads(reactor, "files", 2, 10)
    library = FsLibrary(threads, clock)
    library.clock = clock
    library.threads = threads
    return library


@ensureDeferred
async def test_files(files, tmp_path):
    """The example of KumoMTA's documentation, every mode, and binary data."""
    await LuaBox(files).run(
        r"""
        local path = ...
        local file = kumo.fs.open(path, 'w+')
        file:write 'hello there'
        file:seek 'set'
        assert(file:read() == 'hello there' and file:read(5) == '')
        assert(file:seek('set', 6) == 6 and file:read(2) == 'th' and file:seek() == 8 and file:seek('end') == 11)
        file:close()
        file = kumo.fs.open(path, 'ab'); file:write '\xff'; file:flush(); file:close()
        file = kumo.fs.open(path); assert(file:read() == 'hello there\xff'); file:close()
        file = kumo.fs.open(path, 'r+'); file:write 'J'; file:close()
        assert(kumo.fs.open(path, 'rb'):read(5) == 'Jello')
        file = kumo.fs.open(path .. '.new', 'r+'); file:write 'made'; file:close()
        """,
        str(tmp_path / "f"),
    )
    assert (tmp_path / "f.new").read_bytes() == b"made"
    await files.threads.close()


@ensureDeferred
async def test_directories_and_globs(files, tmp_path):
    """Names are absolute, or relative to what is asked for; globs are kept for a while."""
    for name in ("a.conf", "b.conf", "c.txt"):
        (tmp_path / name).touch()
    box = LuaBox(files, FsAliases(files))
    here = str(tmp_path)
    assert await box.run("return kumo.fs.read_dir(...)", here) == [f"{here}/{n}" for n in ("a.conf", "b.conf", "c.txt")]
    assert await box.run("return kumo.read_dir(...)", here) == await box.run("return kumo.fs.read_dir(...)", here)
    relative = "local d = ...; return kumo.glob(d .. '/*.conf', d)"
    assert await box.run(relative, here) == ["a.conf", "b.conf"]
    assert await box.run("return kumo.fs.glob(... .. '/*.conf')", here) == [f"{here}/a.conf", f"{here}/b.conf"]
    (tmp_path / "d.conf").touch()
    assert await box.run(relative, here) == ["a.conf", "b.conf"]
    files.clock.advance(61)
    assert await box.run(relative, here) == ["a.conf", "b.conf", "d.conf"]
    assert await box.run("return kumo.fs.glob('/nowhere/*')") in ([], {})
    os.close(os.open(os.fsencode(here) + b"/\xff.conf", os.O_CREAT))
    with pytest.raises(PolicyError, match="not UTF-8"):
        await box.run("return kumo.fs.read_dir(...)", here)
    await files.threads.close()


@pytest.mark.parametrize(
    ("lua", "text"),
    [
        ("kumo.fs.open('/nowhere/x')", "No such file"),
        ("kumo.fs.open('/nowhere/x', 'q')", "mode must be one of r, w, a"),
        ("kumo.fs.read_dir('/nowhere')", "No such file"),
        ("kumo.fs.open('/dev/null'):seek('middle')", "whence must be set, cur or end"),
        ("kumo.fs.open('/dev/null'):read(-1)", "size must be 0 to"),
        ("kumo.fs.open('/dev/null'):write('x')", "Bad file descriptor"),
        ("(function() local f = kumo.fs.open('/dev/null'); f:close(); f:read() end)()", "the file is closed"),
        ("kumo.fs.open('/dev/zero'):read()", "read the file in pieces"),
    ],
)
@ensureDeferred
async def test_file_mistakes(files, lua, text):
    """What cannot be opened, read or written says why; an endless file does not fill the memory."""
    with pytest.raises(PolicyError, match=text):
        await LuaBox(files).run(f"return {lua}")
    await files.threads.close()


# -- access control --------------------------------------------------------------------------------------

TRUSTED = AuthInfo("10.0.0.1", (), ("trusted",))


def test_access_control_lists():
    """Rules in Lua, a map in TOML; what comes out decides as written."""
    keys = Keys(b"""
    [[acl."http_listener/*/api/inject"]]
    allow = true
    privileges = ["POST", "PUT"]
    identity.Group = "trusted"
    """)
    acl, from_map, none = LuaBox(AaaLibrary(keys, [].append)).now("""
    local acl = kumo.aaa.make_access_control_list {
      { criteria = { AllOf = { { Identity = { Group = 'trusted' } }, { Not = { Machine = '10.0.0.2' } } } },
        privilege = 'GET', access = 'Allow' },
      { criteria = { Identity = { Any = {} } }, privilege = 'GET', access = 'Deny' },
    }
    local map = kumo.aaa.load_acl_map '/etc/acl.toml'
    return acl, map:get 'http_listener/*/api/inject', map:get 'other' == nil
    """)
    assert none is True
    assert isinstance(acl, Opaque)
    assert acl.value.query(TRUSTED, "GET") is True
    assert acl.value.query(AuthInfo("10.0.0.2", (), ("trusted",)), "GET") is False
    assert acl.value.query(TRUSTED, "POST") is None
    assert from_map.value.query(TRUSTED, "PUT") is True
    assert keys.asked == [FileKey("/etc/acl.toml")]


def test_the_accounting_log_is_declared():
    """Its options reach whoever writes it."""
    declared = []
    LuaBox(AaaLibrary(Keys(), declared.append)).now(
        "kumo.aaa.configure_acct_log { log_dir = '/l', log_authn_ok = false, max_segment_duration = '5 minutes' }"
    )
    assert declared == [AcctLogConfig(log_dir="/l", log_authn_ok=False, max_segment_duration=300.0)]


# -- throttles -------------------------------------------------------------------------------------------


@pytest.fixture
def clock():
    clock = Clock()
    clock.advance(1_000_000)
    return clock


@pytest.fixture
def throttles(clock):
    classes = {Message: HostClass("message", {}, {}, {})}
    return LuaBox(ThrottleLibrary(LocalLimits(clock), clock), classes=classes)


def test_a_throttle_counts_by_name_and_rate(throttles):
    """All throttles of a name share their rate; the result is KumoMTA's table."""
    throttles.now("""
    for n = 1, 2 do
      local result = kumo.make_throttle('a', '2/minute'):throttle()
      assert(result.throttled == false and result.limit == 2 and result.retry_after == nil)
      assert(result.remaining == 2 - n and result.reset_after.secs == 30 * n)
    end
    local result = kumo.make_throttle('a', '2/minute'):throttle()
    assert(result.throttled and result.remaining == 0)
    assert(result.retry_after.secs == 30 and result.reset_after.secs == 60)
    assert(not kumo.make_throttle('b', '2/minute'):throttle().throttled)
    """)


def test_throttles_of_policies_have_names_of_their_own():
    """A policy cannot use up a rate of ours by its name."""
    assert PREFIX == "lua-user-throttle-"


def test_sleeping_until_it_may_pass(throttles, clock):
    """The handler waits, and says whether it did."""
    work = Deferred.fromCoroutine(
        throttles.run("local t = kumo.make_throttle('a', '1/s'); return t:sleep_if_throttled(), t:sleep_if_throttled()")
    )
    assert not work.called
    clock.advance(1)
    assert work.result == (False, True)


def test_delaying_a_message(throttles, clock):
    """The message's due time moves to when it may pass."""
    message = Message(IdGenerator(clock.seconds)(), EnvelopeAddress("a", "b.c"), (), {}, b"", due=clock.seconds())
    result = throttles.now(
        "local t = kumo.make_throttle('a', '1/h'); local m = ...;"
        "return t:delay_message_if_throttled(m), t:delay_message_if_throttled(m)",
        message,
    )
    assert result == (False, True)
    assert message.due == clock.seconds() + 3600


@pytest.mark.parametrize(
    ("lua", "text"),
    [
        ("kumo.make_throttle('a', '0/s')", "would never let anything pass"),
        ("kumo.make_throttle('a', 'often')", "'often' is not a rate"),
        ("kumo.make_throttle('a', '1/s'):delay_message_if_throttled('m')", "needs a message"),
    ],
)
def test_throttle_mistakes(throttles, lua, text):
    """Rates that make no sense are told."""
    with pytest.raises(PolicyError, match=text):
        throttles.now(lua)
