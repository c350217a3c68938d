"""The `policy-extras` modules that nearly every policy of a KumoMTA user requires, from data files to what holds."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import attrs
import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pytest_twisted import async_yield_fixture, ensureDeferred
from support.lua import Bench, now
from support.webpeer import turn
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from kumotwist.config.queue import CustomLuaProtocol
from kumotwist.core.connection import ConnectionMeta
from kumotwist.core.errors import PolicyError, Rejection
from kumotwist.core.ids import IdGenerator
from kumotwist.core.message import Message
from kumotwist.core.queuename import parse
from kumotwist.lua.lib.catalog import Services, standard_libraries
from kumotwist.lua.policy import Policy
from kumotwist.lua.validate import Report, validate
from kumotwist.net.dns import Resolver, StaticResolver
from kumotwist.net.dnsswitch import ConfigurableResolver
from kumotwist.net.zone import parse_zone
from kumotwist.queue.throttle import LocalLimits
from kumotwist.secrets.store import KeyStore

ZONE = """
$ORIGIN big.test.
@ 60 MX 10 mx1
@ 60 MX 10 mx2
$ORIGIN custom.test.
@ 60 MX 10 mx1.big.test.
@ 60 MX 10 mx2.big.test.
"""


class Extras:
    """Policies in a directory, with data files beside them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.bench = Bench(directory, clock=Clock())
        self.keys = KeyStore(reactor, self.bench.tasks, {}, self._no_event)
        self.services = Services(
            reactor=reactor,
            tasks=self.bench.tasks,
            keys=self.keys,
            limits=LocalLimits(self.bench.clock),
            resolver=ConfigurableResolver(StaticResolver(parse_zone(ZONE))),
            ids=IdGenerator(lambda: 1_767_225_600.0),
            epoch=lambda: 1,
            declare_acct_log=lambda config: None,
        )
        self.bench.libraries = standard_libraries(self.services)

    async def _no_event(self, name: str, arguments: Sequence[object]) -> bytes:
        raise AssertionError(name)

    async def close(self) -> None:
        await self.bench.tasks.close()
        await self.keys.close()
        await self.services.close()
        await turn()

    def file(self, name: str, text: str) -> str:
        (self.directory / name).write_text(text)
        return str(self.directory / name)

    async def load(self, source: str) -> Policy:
        self.bench.write(source)
        return await Policy.load(self.bench.path, self.bench.services)

    def policy(self, source: str) -> Policy:
        return now(self.load(source))

    def message(self, headers: str = "", **meta: Any) -> Message:
        message = self.bench.message(f"From: a@example.com\r\n{headers}\r\nHi\r\n".encode(), ["bob@Big.test"])
        for key, value in meta.items():
            message.set_meta(key, value)
        return message


@async_yield_fixture
async def extras(tmp_path: Path) -> AsyncIterator[Extras]:
    found = Extras(tmp_path)
    yield found
    await found.close()


# -- listener_domains -------------------------------------------------------------------------------

DOMAINS = """
["example.com"]
relay_to = true
["*.example.com"]
log_oob = true
["www.example.com"]
log_oob = false
["send.example.com"]
relay_from_authz = ["scott"]
["*"]
log_arf = true
[listener."127.0.0.1:25"."*.example.com"]
log_arf = true
"""


@pytest.fixture
def domains(extras: Extras) -> Policy:
    name = extras.file("domains.toml", DOMAINS)
    return extras.policy(
        f"kumo.on('get_listener_domain', (require 'policy-extras.listener_domains'):setup {{ '{name}' }})"
    )


def listener_domain(policy: Policy, domain: str, listener: str = "10.0.0.1:25", **meta: str) -> Any:
    return now(policy.get_listener_domain(domain, listener, ConnectionMeta(dict(meta))))


def test_domains_come_from_a_file(domains: Policy) -> None:
    """The exact name wins, then a wildcard, then `*`; a listener's own section comes before all of them."""
    assert listener_domain(domains, "example.com").relay_to
    assert listener_domain(domains, "a.b.example.com").log_oob == listener_domain(domains, "b.example.com").log_oob
    assert listener_domain(domains, "b.example.com").log_oob != listener_domain(domains, "www.example.com").log_oob
    other = listener_domain(domains, "elsewhere.test")
    assert not other.relay_to
    assert other.log_arf == listener_domain(domains, "b.example.com", "127.0.0.1:25").log_arf
    assert other.log_arf != listener_domain(domains, "b.example.com").log_arf


def test_users_may_relay(domains: Policy) -> None:
    """`relay_from_authz` lets the client of a user who has authenticated relay, and nobody else."""
    peer = {"received_from": "192.0.2.7:40000"}
    allowed = listener_domain(domains, "send.example.com", authz_id="scott", **peer)
    assert str(allowed.relay_from) == "192.0.2.7/32"
    assert not str(listener_domain(domains, "send.example.com", authz_id="eve", **peer).relay_from)
    assert not str(listener_domain(domains, "send.example.com", **peer).relay_from)


# -- sources ----------------------------------------------------------------------------------------

SOURCES = """
[source.ip-1]
source_address = "127.0.0.1"
ehlo_domain = "mta1.example.com"
[source.ip-2]
source_address = "127.0.0.2"
[pool.both]
[pool.both.ip-2]
weight = 2
[pool.both.ip-1]
"""


def test_sources_and_pools(extras: Extras) -> None:
    """Sources with their options and pools with their weights; a name that nobody defined is an error that says so."""
    policy = extras.policy(f"(require 'policy-extras.sources'):setup {{ '{extras.file('s.toml', SOURCES)}' }}")
    source = now(policy.egress_source("ip-1"))
    assert (str(source.source_address), source.ehlo_domain) == ("127.0.0.1", "mta1.example.com")
    pool = now(policy.egress_pool("both"))
    assert [(entry.name, entry.weight) for entry in pool.entries] == [("ip-1", 1), ("ip-2", 2)]
    assert now(policy.egress_source("unspecified")).name == "unspecified"
    with pytest.raises(PolicyError, match="there is no pool 'other'"):
        now(policy.egress_pool("other"))


@pytest.mark.parametrize(
    ("module", "text", "message"),
    [
        ("sources", "[pool.a.nobody]\n", "pool 'a' names the source 'nobody', which is not defined"),
        ("sources", "[sources.a]\n", "unknown entry 'sources'; there may be pool, source"),
        ("sources", "[source.a]\nehlo_domian = 'x'\n", "source 'a': .*'ehlo_domian'"),
        ("listener_domains", "['a.test']\nrelay_too = true\n", r"\['a.test'\]: .*'relay_too'"),
        ("queue", "[queue.default]\nmax_aeg = '1d'\n", "queue.'default': .*'max_aeg'"),
        ("queue", "[tenant.a.b]\nmax_age = '1d'\n", "unknown section 'b' in tenant.'a'"),
        ("queue", "tenant_haeder = 'x'\n", "unknown entry 'tenant_haeder'"),
        ("dkim_sign", "[base]\nselektor = 's'\n", "base: unknown entry 'selektor'"),
        ("dkim_sign", "[domain.'a.test']\nselector = 's'\n", "domain 'a.test': there must be 'headers'"),
        ("dkim_sign", "[base]\nadditional_signatures = ['x']\n", "signature 'x': there must be such a section"),
        (
            "dkim_sign",
            "[domain.'a.test']\nselector = 's'\nheaders = ['From']\nalgo = 'md5'\n",
            "domain 'a.test': algo 'md5' is none of ed25519, sha256",
        ),
        ("dkim_sign", "[domain.'a.test']\npolicy = 'Sometimes'\n", "policy 'Sometimes' is none of Always"),
        ("shaping", "['a.test']\nconection_limit = 1\n", "'a.test': .*'conection_limit'"),
        ("shaping", "[provider.p]\nconnection_limit = 1\n", "provider 'p': there must be a list 'match'"),
    ],
)
@ensureDeferred
async def test_slips_in_data_files_are_told_when_the_policy_is_read(
    extras: Extras, module: str, text: str, message: str
) -> None:
    """A wrong name in a data file stops the policy with file and section, not a message later on."""
    name = extras.file("data.toml", text)
    with pytest.raises(PolicyError, match=f"policy-extras.{module}: .*{message}"):
        await extras.load(f"(require 'policy-extras.{module}'):setup {{ '{name}' }}")


def test_a_missing_data_file_is_named(extras: Extras) -> None:
    """Which file could not be read."""
    with pytest.raises(PolicyError, match=r"nowhere/sources\.toml"):
        extras.policy("(require 'policy-extras.sources'):setup { '/nowhere/sources.toml' }")


# -- queue ------------------------------------------------------------------------------------------

QUEUES = """
scheduling_header = "X-Schedule"
tenant_header = "X-Tenant"
remove_tenant_header = true
campaign_header = "X-Campaign"
default_tenant = "small"
[tenant.small]
egress_pool = "pool-0"
[tenant.closed]
require_authz = ["scott"]
[tenant.large]
egress_pool = "pool-1"
max_age = "10 hours"
overall_max_message_rate = "1/hr"
[queue.default]
max_age = "24 hours"
retry_interval = "30m"
[queue.'big.test']
max_age = "22 hours"
retry_interval = "17m"
[queue.'*.relayed.test']
routing_domain = "hub.test"
[queue.'big.test'.large]
retry_interval = "3m"
[queue.'big.test'.large.welcome]
max_retry_interval = "1h"
"""


@pytest.fixture
def queues(extras: Extras) -> Policy:
    name = extras.file("queues.toml", QUEUES)
    return extras.policy(f"""
        local helper = (require 'policy-extras.queue'):setup {{ '{name}' }}
        kumo.on('smtp_server_message_received', function(msg) helper:apply(msg) end)
    """)


@pytest.mark.parametrize(
    ("queue", "pool", "hours", "retry", "longest"),
    [
        ("other.test", None, 24, 1800, None),
        ("big.test", None, 22, 1020, None),
        ("small@big.test", "pool-0", 22, 1020, None),
        ("large@other.test", "pool-1", 10, 1800, None),
        ("large@big.test", "pool-1", 10, 180, None),
        ("welcome:large@big.test", "pool-1", 10, 180, 3600),
        ("welcome:small@big.test", "pool-0", 22, 1020, None),
    ],
)
def test_what_holds_for_a_queue(
    queues: Policy, queue: str, pool: str | None, hours: int, retry: int, longest: int | None
) -> None:
    """Default, domain, tenant, tenant of a domain, campaign: each over the one before."""
    config = now(queues.queue_config(parse(queue)))
    got = (config.egress_pool, config.max_age, config.retry_interval, config.max_retry_interval)
    assert got == (pool, hours * 3600, retry, longest)


def received(policy: Policy, message: Message) -> Message:
    now(policy.smtp_server_message_received(message, ConnectionMeta()))
    return message


def test_tenant_and_campaign_from_headers(extras: Extras, queues: Policy) -> None:
    """They name the queue; the tenant's header goes no further, and who has none belongs to the default tenant."""
    message = received(queues, extras.message("X-Tenant: large\r\nX-Campaign: welcome\r\n"))
    assert str(message.queue_name()) == "welcome:large@big.test"
    assert b"X-Tenant" not in (message.body or b"")
    assert b"X-Campaign" in (message.body or b"")
    assert str(received(queues, extras.message()).queue_name()) == "small@big.test"


def test_schedule_and_routing_domain(extras: Extras, queues: Policy) -> None:
    """A header sets the first attempt; a section sends its domains by way of another."""
    schedule = 'X-Schedule: {"first_attempt": "2099-01-01T00:00:00Z"}\r\n'
    message = extras.message(schedule)
    assert received(queues, message).schedule is not None
    assert b"X-Schedule" not in (message.body or b"")
    other = extras.bench.message(b"From: a@example.com\r\n\r\nHi\r\n", ["x@a.relayed.test"])
    assert str(received(queues, other).queue_name()) == "small@a.relayed.test!hub.test"


def test_tenants_may_be_reserved(extras: Extras, queues: Policy) -> None:
    """`require_authz`: only who has authenticated as one of these may name the tenant."""
    header = "X-Tenant: closed\r\n"
    assert received(queues, extras.message(header, authz_id="scott")).meta["tenant"] == "closed"
    for meta in ({}, {"authz_id": "eve"}):
        with pytest.raises(Rejection, match=r"550 5\.7\.1 not authorized to send for the tenant 'closed'"):
            received(queues, extras.message(header, **meta))


def test_a_tenant_that_has_no_section_is_refused(extras: Extras, queues: Policy) -> None:
    """Whoever names a tenant that is not in the files, by a slip or on purpose, does not send; as with KumoMTA."""
    with pytest.raises(Rejection, match=r"550 5\.7\.1 there is no tenant 'lagre'"):
        received(queues, extras.message("X-Tenant: lagre\r\n"))


def test_the_default_tenant_may_be_reserved(extras: Extras) -> None:
    """`require_authz` of the default tenant holds for those who name none."""
    policy = extras.policy("""
        local helper = (require 'policy-extras.queue'):setup {
          { default_tenant = 'closed', tenant = { closed = { require_authz = { 'scott' } } } },
        }
        kumo.on('smtp_server_message_received', function(msg) helper:apply(msg) end)
    """)
    assert received(policy, extras.message(authz_id="scott")).meta["tenant"] == "closed"
    with pytest.raises(Rejection, match="not authorized to send for the tenant 'closed'"):
        received(policy, extras.message())


def test_a_campaign_of_a_tenant(extras: Extras) -> None:
    """`tenant.TENANT.campaigns.CAMPAIGN` holds for the campaign in all domains, its rate beside that of the tenant."""
    policy = extras.policy("""
        (require 'policy-extras.queue'):setup {
          { tenant = { large = { max_age = '10h', campaigns = {
            sale = { max_age = '2h', overall_max_message_rate = '1/hr' },
          } } } },
        }
    """)
    ages = [now(policy.queue_config(parse(name))).max_age for name in ("sale:large@a.test", "other:large@b.test")]
    assert ages == [7200, 36000]
    first, second, third = (extras.message(tenant="large", campaign=name) for name in ("sale", "sale", "other"))
    for message in (first, second, third):
        now(policy.throttle_insert_ready_queue(message))
    assert [message.due > extras.bench.clock.seconds() for message in (first, second, third)] == [False, True, False]


def test_queues_that_no_section_covers_are_left_to_others(extras: Extras) -> None:
    """Without a `queue.default`, the next handler of get_queue_config is asked, and resolve_config says nil."""
    policy = extras.policy("""
        local helper = (require 'policy-extras.queue'):setup { { queue = { ['a.test'] = { max_age = '1h' } } } }
        assert(helper:resolve_config('b.test') == nil)
        kumo.on('get_queue_config', function() return kumo.make_queue_config { max_age = '3h' } end)
    """)
    ages = [now(policy.queue_config(parse(name))).max_age for name in ("a.test", "b.test")]
    assert ages == [3600, 3 * 3600]


def test_log_hooks_keep_their_queues(extras: Extras) -> None:
    """A hook that is set up after the queue helper is delivered all the same, whatever `queue.default` says."""
    policy = extras.policy("""
        (require 'policy-extras.queue'):setup { { queue = { default = { max_age = '1h' } } } };
        (require 'policy-extras.log_hooks'):new_json { name = 'web', url = 'http://127.0.0.1:1/' }
    """)
    config = now(policy.queue_config(parse("web.log_hook")))
    assert config.protocol == CustomLuaProtocol(constructor="make.web.log_hook")


def test_names_that_are_nowhere_are_told_by_validate(extras: Extras) -> None:
    """Every wrong pool and default tenant, with its section, where a message would tell it only when it is too late."""
    policy = extras.policy("""
        (require 'policy-extras.sources'):setup { { source = { a = {} }, pool = { p = { a = {} } } } };
        (require 'policy-extras.queue'):setup { {
          default_tenant = 'nobody',
          tenant = { t = { egress_pool = 'q', campaigns = { c = { egress_pool = 'r' } } } },
          queue = { default = { egress_pool = 'p' }, ['a.test'] = { t = { egress_pool = 's' } } },
        } }
    """)
    message = (
        r"default_tenant: there is no tenant 'nobody'; queue\.'a\.test'\.'t': there is no egress pool 's'; "
        r"tenant\.'t'\.'campaigns'\.'c': there is no egress pool 'r'; tenant\.'t': there is no egress pool 'q'"
    )
    with pytest.raises(PolicyError, match=message):
        now(policy.notify("validate_config"))


def validated(extras: Extras, *lines: str) -> Report:
    extras.bench.write("\n".join(lines))
    return now(validate(extras.bench.path, extras.bench.services))


def test_handlers_behind_the_queue_helper(extras: Extras) -> None:
    """The helper answers for every queue: what comes after it is told, log hooks excepted, which it leaves theirs."""
    helper = "local helper = (require 'policy-extras.queue'):setup { { queue = { default = {} } } }"
    hook = "local hook = (require 'policy-extras.log_hooks'):new_json { name = 'a', url = 'http://127.0.0.1/' }"
    own = "kumo.on('get_queue_config', function(domain) end)"
    start = "kumo.on('init', function() kumo.start_esmtp_listener { listen = '127.0.0.1:25' } end)"
    assert validated(extras, start, hook, own, helper, hook.replace("'a'", "'b'")) == Report()
    (warning,) = validated(extras, start, helper, own).warnings
    assert re.search(r"policy\.lua:\d+: get_queue_config comes after policy-extras.queue", warning)


def test_a_rate_for_a_whole_tenant(extras: Extras, queues: Policy) -> None:
    """`overall_max_message_rate` counts all queues of the tenant together."""
    first, second, third = (extras.message(tenant=name) for name in ("large", "large", "small"))
    for message in (first, second, third):
        now(queues.throttle_insert_ready_queue(message))
    assert [message.due > extras.bench.clock.seconds() for message in (first, second, third)] == [False, True, False]


def test_a_policy_may_answer_for_queues_itself(extras: Extras) -> None:
    """`skip_queue_config_hook` leaves the event free; `resolve_config` tells what the files say."""
    policy = extras.policy("""
        local helper = (require 'policy-extras.queue'):setup_with_options {
          skip_queue_config_hook = true, file_names = { { queue = { default = { max_age = '1h' } } } },
        }
        kumo.on('get_queue_config', function(domain, tenant, campaign)
          local options = helper:resolve_config(domain, tenant, campaign)
          options.retry_interval = '2m'
          return kumo.make_queue_config(options)
        end)
    """)
    config = now(policy.queue_config(parse("a.test")))
    assert (config.max_age, config.retry_interval) == (3600, 120)


def test_sources_that_shaping_names_and_nobody_has(extras: Extras) -> None:
    """`validate` finds them in the default, in providers and in domains, when the sources helper has the sources."""
    shaping = """
        (require 'policy-extras.shaping'):setup_with_automation { no_default_files = true, extra_files = { {
          default = { sources = { a = {}, b = {} } },
          provider = { p = { match = { { MXSuffix = '.test' } }, sources = { c = {} } } },
          ['a.test'] = { sources = { d = {}, unspecified = {}, ['my source name'] = {} } },
        } } }
    """
    now(extras.policy(shaping).notify("validate_config"))
    policy = extras.policy("(require 'policy-extras.sources'):setup { { source = { a = {} } } };" + shaping)
    message = (
        "policy-extras.shaping: 'a.test': there is no egress source 'd'; 'default': there is no egress source 'b'; "
        "provider 'p': there is no egress source 'c'"
    )
    with pytest.raises(PolicyError, match=message):
        now(policy.notify("validate_config"))


# -- log hooks --------------------------------------------------------------------------------------

HOOKS = """
    local hooks = require 'policy-extras.log_hooks'
    hooks:new_json { name = 'web', url = 'http://127.0.0.1:1/', log_parameters = { headers = { 'Subject' } } }
    hooks:new {
      name = 'own', batch_size = 10, queue_config = { retry_interval = '5s' },
      constructor = function() return {} end,
      filter = function(msg) return msg:get_meta('log_record').type == 'Reception' end,
    }
"""


def test_log_hooks(extras: Extras) -> None:
    """Each hook has a queue of its own with delivery by Lua, and its own idea of which records it wants."""
    policy = extras.policy(HOOKS)
    now(policy.pre_init())
    assert [(hook.name, list(hook.headers)) for hook in policy.declarations.log_hooks] == [
        ("web", ["Subject"]),
        ("own", []),
    ]
    web, own = (now(policy.queue_config(parse(f"{name}.log_hook"))) for name in ("web", "own"))
    assert (web.retry_interval, web.max_retry_interval, own.retry_interval) == (60, 1200, 5)
    assert (web.protocol.batch_size, own.protocol.batch_size) == (1, 10)  # type: ignore[union-attr]
    record = {"type": "Delivery", "reception_protocol": "ESMTP"}

    def wants(hook: str, **differently: str) -> tuple[bool, object]:
        message = extras.message(log_record={**record, **differently})
        return now(policy.should_enqueue_log_record(message, hook)), message.meta.get("queue")

    assert wants("web") == (True, "web.log_hook")
    assert wants("own") == (True, "own.log_hook")
    assert wants("own", type="Reception") == (False, None)
    assert wants("web", reception_protocol="LogRecord") == (False, None)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("new { name = 'x' }", "option 'constructor' must be a function"),
        ("new_json { name = 'x' }", "option 'url' must be a string"),
        ("new_json { name = 'x', url = 'u', headers = {} }", "unknown entry 'headers'"),
        ("new { constructor = print }", "option 'name' must be a string"),
        ("new_disposition_hook { name = 'x' }", "configure_log_disposition_hook is known to KumoMTA but not supported"),
    ],
)
def test_hooks_that_cannot_be(extras: Extras, call: str, message: str) -> None:
    """What is missing or unknown is told when the policy is read."""
    with pytest.raises(PolicyError, match=message):
        extras.policy(f"(require 'policy-extras.log_hooks'):{call}")


# -- shaping ----------------------------------------------------------------------------------------

SHAPING = """
[default]
connection_limit = 10
max_message_rate = "100/s"
["big.test"]
connection_limit = 3
["big.test".sources.ip-1]
connection_limit = 5
["alone.test"]
mx_rollup = false
max_deliveries_per_connection = 7
[["alone.test".automation]]
regex = "421"
action = "Suspend"
duration = "1h"
[provider.hosted]
match = [{ MXSuffix = ".big.test" }]
provider_connection_limit = 4
provider_max_message_rate = "9/s"
[provider.named]
match = [{ DomainSuffix = ".named.test" }, { HostName = "mx.elsewhere.test" }]
connection_limit = 2
[provider.named.sources.ip-1]
idle_timeout = "9s"
"""


async def path_of(policy: Policy, domain: str, source: str, site: str) -> Any:
    return await policy.egress_path(domain, source, site)


@ensureDeferred
async def test_shaping(extras: Extras) -> None:
    """Default, provider, site and domain, each with what it says for one source, the narrower over the wider."""
    policy = await extras.load(f"""
        local shaper = (require 'policy-extras.shaping'):setup_with_automation {{
          extra_files = {{ '{extras.file("shaping.toml", SHAPING)}' }}, no_default_files = true,
          publish = {{ 'http://127.0.0.1:1' }}, subscribe = {{ 'http://127.0.0.1:1' }},
        }}
        kumo.on('init', function() shaper.setup_publish() end)
        kumo.on('get_egress_path_config', shaper.get_egress_path_config)
    """)
    await policy.init()
    site = "(mx1|mx2).big.test"
    big = await path_of(policy, "big.test", "ip-2", site)
    assert (big.connection_limit.limit, big.provider_name) == (3, "hosted")
    assert big.additional_connection_limits["shaping-provider-hosted-ip-2-limit"].limit == 4
    assert list(big.additional_message_rate_throttles) == ["shaping-provider-hosted-ip-2-rate"]
    assert (await path_of(policy, "big.test", "ip-1", site)).connection_limit.limit == 5
    hosted = await path_of(policy, "custom.test", "ip-2", site)  # another domain with the same exchangers
    assert (hosted.connection_limit.limit, hosted.provider_name) == (3, "hosted")
    alone = await path_of(policy, "alone.test", "ip-2", "alone.test")
    assert (alone.connection_limit.limit, alone.max_deliveries_per_connection, alone.provider_name) == (10, 7, None)
    named = await path_of(policy, "a.named.test", "ip-1", "a.named.test")
    assert (named.connection_limit.limit, named.idle_timeout, named.provider_name) == (2, 9, "named")
    assert (await path_of(policy, "a.named.test", "ip-2", "a.named.test")).idle_timeout == 5


class ByHand(Clock):
    """Time by hand, threads for real."""

    callFromThread = staticmethod(reactor.callFromThread)  # type: ignore[attr-defined]
    getThreadPool = staticmethod(reactor.getThreadPool)  # type: ignore[attr-defined]


class Silent:
    """A resolver that nobody answers."""

    async def mx(self, domain: str) -> Any:
        await Deferred()
        raise AssertionError(domain)


@ensureDeferred
async def test_shaping_waits_for_names_once(extras: Extras) -> None:
    """Exchangers that are known are used while they are looked up anew: no path waits for DNS every five minutes."""
    hand = ByHand()
    extras.bench.libraries = standard_libraries(attrs.evolve(extras.services, reactor=hand))
    policy = await extras.load(f"""
        local shaper = (require 'policy-extras.shaping'):setup {{ '{extras.file("shaping.toml", SHAPING)}' }}
        kumo.on('get_egress_path_config', shaper)
    """)
    await path_of(policy, "big.test", "ip-2", "(mx1|mx2).big.test")
    resolver = extras.services.resolver
    assert isinstance(resolver, ConfigurableResolver)
    resolver.use(cast("Resolver", Silent()))
    hand.advance(301)
    path = now(path_of(policy, "big.test", "ip-2", "(mx1|mx2).big.test"))
    assert (path.connection_limit.limit, path.provider_name) == (3, "hosted")


@ensureDeferred
async def test_later_shaping_files_win(extras: Extras) -> None:
    """Options are merged one by one; `replace_base` puts aside what files before it say. `setup` is a handler."""
    base = extras.file("a.toml", "['a.test']\nmx_rollup = false\nconnection_limit = 3\nidle_timeout = '7s'\n")
    more = extras.file("b.toml", "['a.test']\nconnection_limit = 4\n")
    instead = extras.file("c.toml", "['a.test']\nmx_rollup = false\nreplace_base = true\nconnection_limit = 6\n")
    source = "kumo.on('get_egress_path_config', (require 'policy-extras.shaping'):setup {{ {} }})"
    first = await extras.load(source.format(f"'{base}', '{more}'"))
    path = await path_of(first, "a.test", "s", "a.test")
    assert (path.connection_limit.limit, path.idle_timeout) == (4, 7)
    second = await extras.load(source.format(f"'{base}', '{more}', '{instead}'"))
    path = await path_of(second, "a.test", "s", "a.test")
    assert (path.connection_limit.limit, path.idle_timeout) == (6, 5)


@ensureDeferred
async def test_shaping_may_be_changed_further(extras: Extras) -> None:
    """With `skip_make` the options come as a table for the policy's own changes."""
    policy = await extras.load("""
        local shaper = (require 'policy-extras.shaping'):setup_with_automation {
          extra_files = { { default = { connection_limit = 2 } } },
        }
        kumo.on('get_egress_path_config', function(domain, source, site)
          local options = shaper.get_egress_path_config(domain, source, site, true)
          options.idle_timeout = '1m'
          return kumo.make_egress_path(options)
        end)
    """)
    path = await path_of(policy, "a.test", "s", "a.test")
    assert (path.connection_limit.limit, path.idle_timeout) == (2, 60)


# -- dkim_sign --------------------------------------------------------------------------------------

DKIM = """
[base]
selector = "s1"
headers = ["From", "To", "Subject"]
additional_signatures = ["Provider", "Fallback"]
[domain."example.com"]
filename = "KEY"
policy = "SignAlways"
[domain."other.test"]
algo = "ed25519"
selector = "s2"
over_sign = true
filename = "EDKEY"
[signature.Provider]
domain = "provider.test"
filename = "KEY"
[signature.Fallback]
domain = "fallback.test"
policy = "OnlyIfMissingDomainBlock"
filename = "KEY"
"""


def pem(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def signatures(message: Message) -> list[str]:
    """Algorithm, domain and selector of each signature, from above."""
    found = re.findall(rb"a=([a-z0-9-]+);\s+c=\S+;\s+d=(\S+);\s+s=(\S+);", message.body or b"")
    return [b" ".join(one).decode() for one in found]


@ensureDeferred
async def test_dkim(extras: Extras) -> None:
    """The domain in From decides, additional signatures come on top, and one of them may be for all others."""
    rsa_key = extras.file("rsa.pem", pem(rsa.generate_private_key(65537, 1024)))
    ed_key = extras.file("ed.pem", pem(ed25519.Ed25519PrivateKey.generate()))
    data = extras.file("dkim.toml", DKIM.replace("EDKEY", ed_key).replace("KEY", rsa_key))
    policy = await extras.load(f"""
        local sign = (require 'policy-extras.dkim_sign'):setup {{ '{data}' }}
        kumo.on('smtp_server_message_received', function(msg) sign(msg) end)
    """)

    async def of(sender: str) -> list[str]:
        message = extras.bench.message(f"From: {sender}\r\nSubject: x\r\n\r\nHi\r\n".encode())
        await policy.smtp_server_message_received(message, ConnectionMeta())
        return signatures(message)

    assert await of("a@Example.com") == ["rsa-sha256 provider.test s1", "rsa-sha256 example.com s1"]
    assert await of("a@other.test") == ["rsa-sha256 provider.test s1", "ed25519-sha256 other.test s2"]
    assert await of("a@nobody.test") == ["rsa-sha256 fallback.test s1", "rsa-sha256 provider.test s1"]
    nobody = extras.bench.message(b"Subject: x\r\n\r\nHi\r\n")
    with pytest.raises(Rejection, match=r"552 5\.6\.0 there is no From header"):
        await policy.smtp_server_message_received(nobody, ConnectionMeta())


@ensureDeferred
async def test_dkim_keys_that_cannot_be_had(extras: Extras) -> None:
    """`validate` signs for each domain and signature: it tells of keys that are missing or of the wrong kind.

    A signature that nothing asks for is told as well.
    """
    rsa_key = extras.file("rsa.pem", pem(rsa.generate_private_key(65537, 1024)))
    data = DKIM.replace("EDKEY", rsa_key).replace('filename = "KEY"', f'filename = "{rsa_key}"', 1)
    extras.file("dkim.toml", data.replace("KEY", "/nowhere/key") + "[signature.Spare]\ndomain = 'spare.test'\n")
    policy = await extras.load(f"(require 'policy-extras.dkim_sign'):setup {{ '{extras.directory}/dkim.toml' }}")
    missing = "key file /nowhere/key: No such file or directory"
    message = (
        f"additional signature of 'fallback.test': {missing}; additional signature of 'provider.test': {missing}; "
        "domain 'other.test': kumo.dkim.ed25519_signer: option 'key' is a private key of another kind; "
        "signature 'Spare': base.additional_signatures does not list it"
    )
    with pytest.raises(PolicyError, match=message):
        await policy.notify("validate_config")


@ensureDeferred
async def test_signing_by_hand(extras: Extras) -> None:
    """`kumo.dkim` and `message:dkim_sign` with every option: another implementation finds the signature good."""
    key = rsa.generate_private_key(65537, 1024)
    policy = await extras.load(f"""
        kumo.on('smtp_server_message_received', function(msg)
          local signer = kumo.dkim.rsa_sha256_signer {{
            domain = msg:from_header().domain, selector = 'default', headers = {{ 'From', 'To', 'Subject' }},
            key = {{ key_data = [[{pem(key)}]] }}, over_sign = true, expiration = 3600, body_length = true,
            reporting = true, agent_user_identifier = '@mail.example.com', atps = 'esp.test', atpsh = 'sha256',
            header_canonicalization = 'Simple', body_canonicalization = 'Relaxed', ttl = 60,
          }}
          msg:dkim_sign(signer)
        end)
    """)
    message = extras.bench.message()
    extras.bench.clock.advance(time.time())
    await policy.smtp_server_message_received(message, ConnectionMeta())
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
    assert dkim.verify(message.body, dnsfunc=lambda name, timeout=5: record)
    head = (message.body or b"").partition(b"\r\n\r\n")[0]
    for tag in (b"i=@mail.example.com", b"r=y", b"atps=esp.test", b"atpsh=sha256", b"c=simple/relaxed", b"l=4"):
        assert tag + b";" in head


GOOD = "domain = 'a.test', selector = 's', headers = { 'From' }, key = { key_data = 'no key' }"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (GOOD, "option 'key' is no private key in PEM"),
        (GOOD.replace("'From'", "'To'"), "'headers' .*must name From"),
        (GOOD.replace("a.test", "a.test; x"), "'domain' .*must be a domain name"),
        (GOOD + ", agent_user_identifier = 'a@b.test'", "'agent_user_identifier' .*in the domain a.test or below"),
        (GOOD + ", expiration = 0", "'expiration' .*must be at least 1"),
        (GOOD + ", over_sing = true", "did you mean 'over_sign'"),
    ],
)
@ensureDeferred
async def test_signers_that_cannot_be(extras: Extras, params: str, message: str) -> None:
    """The error names the option, and shows nothing of a key."""
    policy = await extras.load(f"kumo.on('go', function() return kumo.dkim.rsa_sha256_signer {{ {params} }} end)")
    with pytest.raises(PolicyError, match=message) as caught:
        await policy.run_event("go")
    assert "no key" not in str(caught.value)


# -- policy_utils -----------------------------------------------------------------------------------

UTILS: Mapping[str, object] = {
    "utils.merge_into({ a = 1 }, { b = 2, a = 0 })": {"a": 1, "b": 2},
    "utils.recursive_merge_into({ a = { x = 1 }, l = { 3 } }, { a = { y = 2 }, l = { 1, 2 } })": {
        "a": {"x": 1, "y": 2},
        "l": [3],
    },
    "utils.table_keys { b = 1, a = 2 }": ["a", "b"],
    "utils.table_contains({ 1, 2 }, 2)": True,
    "utils.table_contains({ 1, 2 }, 3)": False,
    "utils.table_is_empty {}": True,
    "utils.table_is_empty { false }": False,
    "utils.equals({ a = { 1 } }, { a = { 1 } })": True,
    "utils.equals({ a = 1 }, { a = 1, b = 2 })": False,
    "utils.starts_with('abc', 'ab')": True,
    "utils.ends_with('abc', 'bc')": True,
    "utils.ends_with('abc', 'ab')": False,
    "{ utils.split_ip_port '127.0.0.1:25' }": ["127.0.0.1", "25"],
    "{ utils.split_ip_port '[::1]:25' }": ["::1", "25"],
    "{ utils.split_ip_port '10.0.0.1' }": ["10.0.0.1"],
    "utils.dumps 'x'": "x",
    "(pcall(utils.assert_eq, { 1 }, { 1 }))": True,
    "(pcall(utils.assert_eq, { 1 }, { 2 }))": False,
    "(pcall(utils.assert_ne, 1, 1))": False,
    "(pcall(utils.assert_matches, 'abc', '^a'))": True,
    "(pcall(utils.assert_matches, 'abc', '^b'))": False,
}


@pytest.mark.parametrize("expression", UTILS)
def test_utils(extras: Extras, expression: str) -> None:
    """What policies write instead of their own loops."""
    policy = extras.policy(
        f"local utils = require 'policy-extras.policy_utils'; kumo.on('go', function() return {expression} end)"
    )
    assert now(policy.run_event("go")) == UTILS[expression]


def test_data_files_of_both_kinds(extras: Extras) -> None:
    """The name of a file tells whether it is JSON or TOML; all helpers take both."""
    sources = extras.file("s.json", '{"source": {"a": {"ehlo_domain": "x.test"}}}'), extras.file("s.toml", SOURCES)
    policy = extras.policy(f"(require 'policy-extras.sources'):setup {{ '{sources[0]}', '{sources[1]}' }}")
    assert now(policy.egress_source("a")).ehlo_domain == "x.test"
    assert now(policy.egress_source("ip-1")).ehlo_domain == "mta1.example.com"


def test_what_stands_beside_the_policy_comes_first(extras: Extras) -> None:
    """`package.path` of the policy leads to a helper of its own, as it does in KumoMTA."""
    (extras.directory / "policy-extras").mkdir()
    extras.file("policy-extras/sources.lua", "return { mine = true }")
    policy = extras.policy(f"""
        package.path = '{extras.directory}/?.lua;' .. package.path
        kumo.on('go', function() return require('policy-extras.sources').mine end)
    """)
    assert now(policy.run_event("go")) is True


def test_docker_utils(extras: Extras, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's resolver is asked, its answers are addresses, and nothing but a host name reaches a shell."""
    monkeypatch.setenv("HOSTNAME", "127.0.0.9")
    policy = extras.policy("""
    local docker = require 'policy-extras.docker_utils'
    kumo.on('network', function() return docker.resolve_docker_network() end)
    kumo.on('name', function(name) return docker.resolve_docker_name(name) end)
    kumo.on('tsa', function() return #docker.resolve_tsa_endpoints() end)
    """)
    assert now(policy.run_event("network")) == "127.0.0.0/24"
    assert now(policy.run_event("name", ["localhost"])) == ["127.0.0.1"]
    assert now(policy.run_event("tsa")) == 0
    with pytest.raises(PolicyError, match="is no host name"):
        now(policy.run_event("name", ["x; touch y"]))
