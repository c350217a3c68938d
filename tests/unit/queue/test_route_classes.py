"""What messages are told apart by when a route table learns: providers, countries, carriers, functions of policy."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from support.fakes_queue import FakePolicy, House, now, started_clock
from twisted.internet.defer import Deferred

from kumotwist.config.queue import QueueConfig
from kumotwist.config.routes import ClassFunction, RouteEntry, RouteTableConfig
from kumotwist.core.address import parse_address
from kumotwist.core.errors import PolicyError, Rejection, ResolveError
from kumotwist.core.message import Message
from kumotwist.egress.protocols import protocol
from kumotwist.net.dns import StaticResolver
from kumotwist.net.mx import mail_hosts
from kumotwist.queue.classes import FAILURE_TTL, MAX_DOMAINS, PROVIDER_TTL, Classed, Classes, classed_alone
from kumotwist.queue.routes.mailboxes import provider_of_domain, provider_of_host

ROUTES = (RouteEntry(name="a", weight=50.0), RouteEntry(name="b", weight=50.0))


def table(by) -> RouteTableConfig:
    return RouteTableConfig(name="bulk", routes=ROUTES, class_=by)


def message(recipient: str, **meta) -> Message:
    return Message(b"m" * 16, parse_address("a@src.example"), (parse_address(recipient),), dict(meta), b"")


class Mx:
    """Answers for domains; counts questions; a `Deferred` is waited for."""

    def __init__(self, **answers) -> None:
        self.answers = {name.replace("_", "."): answer for name, answer in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, domain):
        self.asked.append(domain)
        answer = self.answers.get(domain, ())
        if isinstance(answer, Deferred):
            return await answer
        if isinstance(answer, Exception):
            raise answer
        return answer


def function(answer, place="policy.lua:7") -> ClassFunction:
    async def run(_message):
        if isinstance(answer, Exception):
            raise answer
        return (answer,)

    return ClassFunction(place, run)


# -- mailbox providers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("aspmx.l.google.com.", "google-workspace"),
        ("alt1.gmail-smtp-in.l.google.com", "gmail"),
        ("contoso-com.mail.protection.outlook.com.", "microsoft-365"),
        ("contoso-com.o-v1.mx.microsoft.", "microsoft-365"),
        ("hotmail-com.olc.protection.outlook.com", "outlook"),
        ("mta5.am0.yahoodns.net", "yahoo"),
        ("mx01.mail.icloud.com", "icloud"),
        ("mxa-00123.gslb.pphosted.com", "proofpoint"),
        ("eu-smtp-inbound-1.mimecast.com", "mimecast"),
        ("MX00.EMIG.GMX.NET.", "gmx"),
        ("mx1.mail.example.com.", "mail.example.com"),
        ("mail.example.com", "example.com"),
        ("example.com", "example.com"),
        ("localhost", "localhost"),
        ("notgoogle.com", "notgoogle.com"),
    ],
)
def test_who_runs_an_exchanger(host, provider):
    """Big houses by their short name, all others by the domain above the host."""
    assert provider_of_host(host) == provider


@given(st.lists(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True), min_size=1, max_size=6))
def test_no_host_is_without_a_class(labels):
    """Whatever an MX record says, it is a table's name, or an end of what it said."""
    host = ".".join(labels)
    found = provider_of_host(host)
    assert found
    assert "." not in found or host == found or host.endswith(f".{found}")


def test_well_known_domains_need_no_question():
    """A message to gmail.com never waits for DNS."""
    mx = Mx()
    classes = Classes(started_clock(), mx)
    assert classes.known(table("mailbox_provider"), message("ann@GMail.com")) == "gmail"
    assert classes.known(table("mailbox_provider"), message("ann@web.de")) == "gmx"
    assert provider_of_domain("example.org") is None
    assert not mx.asked


def test_a_company_counts_for_its_provider_and_is_asked_about_once_an_hour():
    """The first message to a domain waits for its MX records, later ones find them in memory."""
    clock, mx = started_clock(), Mx(contoso_example=("contoso.mail.protection.outlook.com.",))
    classes, config, to = Classes(clock, mx), table("mailbox_provider"), message("bob@Contoso.example")
    assert classes.known(config, to) is None
    assert now(classes.find(config, to)) == "microsoft-365"
    assert classes.known(config, to) == "microsoft-365"
    clock.advance(PROVIDER_TTL - 1)
    assert classes.known(config, to) == "microsoft-365"
    clock.advance(2)
    assert classes.known(config, to) is None
    now(classes.find(config, to))
    assert mx.asked == ["contoso.example"] * 2


@pytest.mark.parametrize("answer", [ResolveError("MX x.example: server failure"), ()])
def test_what_cannot_be_looked_up_is_a_class_by_itself(answer):
    """No exchanger and a failing name server are no errors; a failure is asked again sooner."""
    clock, mx = started_clock(), Mx(x_example=answer)
    classes, config, to = Classes(clock, mx), table("mailbox_provider"), message("u@x.example")
    assert now(classes.find(config, to)) == "x.example"
    clock.advance(FAILURE_TTL + 1)
    assert (classes.known(config, to) is None) is isinstance(answer, ResolveError)
    assert list(classes.samples()) == []


def test_the_memory_of_providers_is_bounded():
    """A list of a million domains does not fill the memory."""
    classes, config = Classes(started_clock(), Mx()), table("mailbox_provider")
    for number in range(MAX_DOMAINS + 10):
        now(classes.find(config, message(f"u@d{number}.example")))
    assert len(classes._providers) == MAX_DOMAINS
    assert classes.known(config, message("u@d0.example")) is None


def test_the_most_preferred_exchanger_decides():
    """A backup of another house does not run the mailbox; a null MX and an address have no provider."""
    zone = {
        "a.example": {"MX": ["20 backup.example.", "10 aspmx.l.google.com."]},
        "null.example": {"MX": ["0 ."]},
        "none.example": {"A": ["192.0.2.1"]},
    }
    resolver = StaticResolver(zone)
    assert now(mail_hosts(resolver, "a.example")) == ("aspmx.l.google.com.",)
    for domain in ("null.example", "none.example", "[192.0.2.1]"):
        assert now(mail_hosts(resolver, domain)) == ()


def test_nothing_is_looked_up_for_those_who_only_read_a_log():
    """A replay of a million messages asks DNS nothing."""
    assert now(classed_alone(table("mailbox_provider"), message("u@x.example"))) == Classed("x.example")
    assert now(classed_alone(table(function("vip")), message("u@x.example"))) == Classed("vip")


# -- numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipient", "country", "carrier"),
    [
        ("+4917012345678@sms", "DE", "DE T-Mobile"),
        ("+919812345678@sms", "IN", "IN Idea"),
        ("+12025550123@sms", "US", "US"),
        ("+80012345678@sms", "001", "001"),
        ("ann@example.org", "", ""),
        ("0170-1234567@sms", "", ""),
    ],
)
def test_numbers_have_a_country_and_a_carrier(recipient, country, carrier):
    """By the number's own digits; mail has neither and counts in the class of all."""
    classes = Classes(started_clock())
    assert classes.known(table("country"), message(recipient)) == country
    assert classes.known(table("carrier"), message(recipient)) == carrier


def texting(by, **place):
    """A table whose second route sends texts to the number that stands there."""
    way = protocol({"telnyx": {"api_key": {"key_data": "x"}, "sender": "+15550001111", **place}}, "test")
    return RouteTableConfig(
        name="bulk", routes=(ROUTES[0], RouteEntry(name="sms", weight=1.0, protocol=way)), class_=by, sticky_by="sender"
    )


@pytest.mark.parametrize("place", [{"to_meta": "phone"}, {"to_header": "X-Phone"}])
def test_a_text_is_of_the_country_that_it_goes_to(place):
    """Whatever mailbox it is addressed to, as budgets by country have it: first mail, then a text to the customer."""
    classes, mail = Classes(started_clock()), message("ann@example.org", phone="+4917012345678")
    mail.body = b"X-Phone: +4917012345678\r\nSubject: x\r\n\r\nhi\r\n"
    assert classes.known(texting("country", **place), mail) == "DE"
    assert classes.known(texting("carrier", **place), mail) == "DE T-Mobile"
    assert classes.known(texting("country"), message("ann@example.org", to={"phone": "+4917012345678"})) == "DE"
    assert classes.known(texting("country"), message("ann@example.org")) == ""


def test_a_number_in_a_header_is_read_from_the_spool():
    """A message that has waited there is of the same class as before."""
    one = House(policy=FakePolicy(QueueConfig(route_table="bulk")))
    config = texting("country", to_header="X-Phone")
    one.policy.tables["bulk"] = config
    one.manager.start()
    mail = one.message("ann@example.org", body=b"X-Phone: +4917012345678\r\nSubject: x\r\n\r\nhi\r\n")
    now(one.store.save((mail,)))
    mail.body = None
    assert Classes(one.clock).known(config, mail) is None
    one.insert(mail)
    one.pass_time(2)
    assert {record.way.name for record in one.recorder.of("Delivery")} == {"DE"}


# -- functions ----------------------------------------------------------------------------------------


def test_a_function_names_the_class_and_nil_is_the_class_of_all():
    """Its answer is never remembered: it may look at anything of the message."""
    classes = Classes(started_clock())
    assert classes.known(table(function("vip")), message("u@x.example")) is None
    assert now(classes.find(table(function("vip")), message("u@x.example"))) == "vip"
    assert now(classes.find(table(function(None)), message("u@x.example"))) == ""
    assert len(now(classes.find(table(function("x" * 999)), message("u@x.example")))) == 255


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (PolicyError("policy.lua:8: attempt to index a nil value"), "failed: policy.lua:8: attempt to index"),
        (Rejection(550, "no"), "rejects with"),
        (5.0, "must return a string or nil, it returned the number 5.0"),
        (True, "it returned true"),
        ({"a": 1}, "it returned a table"),
        (b"\xff", "it returned a string that is not UTF-8"),
    ],
)
def test_a_function_that_fails_costs_its_class_and_nothing_else(answer, text, events):
    """The message goes on in the class of all; the log says where, once a minute; a metric counts each."""
    clock = started_clock()
    classes, config = Classes(clock), table(function(answer))
    for _ in range(3):
        assert now(classes.find(config, message("u@x.example"))) == ""
    assert [sample.value for sample in classes.samples()] == [3]
    problem = now(classes.ask(config, message("u@x.example"))).problem
    assert problem.startswith("the function at policy.lua:7 ")
    assert text in problem
    assert [event["problem"] for event in events] == [problem]
    clock.advance(61)
    now(classes.find(config, message("u@x.example")))
    assert len(events) == 2


def test_functions_of_one_place_are_equal():
    """A table that policy gives anew once a minute is the same table, though its function is another object."""
    assert table(function("a")) == table(function("b"))
    assert table(function("a")) != table(function("a", "policy.lua:8"))
    assert hash(function("a")) == hash(function("b"))


# -- in the queue -------------------------------------------------------------------------------------


def house(by, mx=None) -> House:
    policy = FakePolicy(QueueConfig(route_table="bulk"))
    policy.tables["bulk"] = table(by)
    one = House(policy=policy, mail_hosts=mx)
    one.manager.start()
    return one


def classes_of(one: House) -> list[str]:
    return [record.way.name for record in one.recorder.of("Delivery")]


def test_a_slow_name_server_holds_up_its_own_messages_only():
    """A message whose provider is not known waits by itself; the next to the same domain does not."""
    answer: Deferred = Deferred()
    mx = Mx(slow_example=answer)
    one = house("mailbox_provider", mx)
    one.insert(one.message("u@slow.example"))
    one.insert(one.message("u@gmail.com"))
    assert classes_of(one) == ["gmail"]
    answer.callback(["mx.pphosted.com."])
    one.insert(one.message("v@slow.example"))
    assert classes_of(one) == ["gmail", "proofpoint", "proofpoint"]
    assert mx.asked == ["slow.example"]
    one.stop()


def test_a_message_keeps_its_class_from_route_to_route():
    """What was learned about the class stays with it while the same attempt goes on elsewhere."""
    answers = iter(("first", "second"))

    async def run(_message):
        return (next(answers),)

    one = house(ClassFunction("policy.lua:3", run))
    one.insert(one.message("u@x.example", route="a"))
    assert classes_of(one) == ["first"]
    assert one.numbers("route_share")[(("table", "bulk"), ("route", "a"), ("class", "first"))] == 0.5
    one.stop()


def test_a_function_goes_with_its_policy():
    """After a reload the present policy's function is asked, and nothing holds the old one."""
    one = house(function("old"))
    one.insert()
    old = one.policy.tables["bulk"]
    at_work = one.manager.table_at_work("bulk")
    one.policy.tables["bulk"] = evolve(old, class_=function("new"))
    one.policy.epoch += 1
    one.pass_time(1)
    assert at_work.config.class_.run is not old.class_.run
    assert "has been replaced" in now(Classes(one.clock).ask(at_work.config, one.message())).problem
    looked_at = now(one.manager.present().table("bulk"))
    assert now(Classes(one.clock).ask(looked_at.config, one.message())) == Classed("new"), "whoever only looks, too"
    one.insert()
    assert classes_of(one) == ["old", "new"]
    assert one.manager.table_at_work("bulk") is at_work, "what was learned stays"
    one.stop()


def test_a_table_says_what_a_class_may_be():
    """A typing error is an error that lists what there is."""
    with pytest.raises(ValueError, match=r"mailbox_provider, country, carrier.* meta:NAME or a function, got 'isp'"):
        table("isp")
