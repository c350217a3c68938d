"""Receipts and the messages they belong to."""

import pytest
import pytest_twisted
from attrs import evolve
from support.receipt_desk import DELIVERED, FAILED, NEW_ID, Desk

from kumotwist.core.address import EnvelopeAddress, parse_address
from kumotwist.core.errors import Overload, StateUnavailable
from kumotwist.core.message import Message
from kumotwist.core.receipt import ReceiptState
from kumotwist.core.records import Record, RecordType
from kumotwist.core.response import Response
from kumotwist.records.receipts.desk import LEASE, LOOK_INTERVAL


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.sqlite"


@pytest_twisted.ensureDeferred
async def test_a_receipt_becomes_a_record_with_the_facts_of_its_message(path):
    """Whoever reads the log sees whose message it was, and what the provider said of it."""
    house = await Desk(path).open()
    spool_id = house.hand_over("SM1", customer=7)
    await house.receive(FAILED)
    (record,) = house.records
    assert record.type is RecordType.RECEIPT
    assert record.message_id == spool_id
    assert (record.sender, record.recipients) == ("shop@example.org", ("+15550001@sms",))
    assert (record.queue, record.site) == ("campaign:tenant@sms", "s->twilio@twilio")
    assert record.meta == {"customer": 7}
    assert record.response.to_line() == "550 5.0.0 30005 Unknown destination"
    assert record.receipt == FAILED
    assert record.handed_over == 1795462200.0, "so that what learns from it knows how long it took"
    await house.close()


@pytest_twisted.ensureDeferred
async def test_the_ledger_knows_of_whom_it_has_heard(path):
    """A receipt on the way says nothing yet; one that ends the delivery, or an open, does."""
    house = await Desk(path).open()
    ended, opened, pending, silent = (house.hand_over(f"SM{number}") for number in range(4))
    for number, state in enumerate((ReceiptState.FAILED, ReceiptState.OPENED, ReceiptState.ACCEPTED)):
        await house.receive(evolve(DELIVERED, remote_id=f"SM{number}", state=state))
    assert await house.desk.heard_of([ended, opened, pending, silent]) == {ended, opened}
    await house.close()


@pytest_twisted.ensureDeferred
async def test_our_id_comes_first(path):
    """A provider that gives our id back needs no id of its own, and is not led astray by one."""
    house = await Desk(path).open()
    other, mine = house.hand_over("SM1"), house.hand_over("SM2")
    await house.receive(evolve(DELIVERED, spool_id=mine))
    await house.receive(evolve(DELIVERED, spool_id=other, remote_id="", event_id="2"))
    assert house.told() == [(mine, "delivered"), (other, "delivered")]
    await house.close()


@pytest_twisted.ensureDeferred
async def test_a_receipt_that_overtakes_its_response(path):
    """A receipt that is here before the provider's answer to the request waits for it, and is told at once then."""
    house = await Desk(path).open()
    await house.receive(DELIVERED)
    assert not house.records
    spool_id = house.hand_over("SM1")
    await house.flush()
    assert house.told() == [(spool_id, "delivered")]
    await house.close()


@pytest_twisted.ensureDeferred
async def test_another_worker_has_the_message(path):
    """It does not matter which worker sent the message, which took the receipt, nor which was first."""
    one = await Desk(path).open()
    two = await Desk(path, one.clock).open()
    first = one.hand_over("SM1")
    await one.flush()
    await two.receive(DELIVERED)
    assert two.told() == [(first, "delivered")]
    await two.receive(evolve(DELIVERED, remote_id="SM2"))
    second = one.hand_over("SM2")
    await one.flush()
    await one.pass_time(LOOK_INTERVAL)
    assert sorted(one.told() + two.told()) == sorted([(first, "delivered"), (second, "delivered")])
    await one.close()
    await two.close()


@pytest_twisted.ensureDeferred
async def test_after_a_restart(path):
    """Days later, after restarts, a receipt still finds its message; one that came is not asked for again."""
    house = await Desk(path).open()
    spool_id = house.hand_over("SM1")
    await house.close()
    again = await Desk(path, house.clock).open()
    await again.pass_time(3 * 86400.0)
    await again.receive(DELIVERED)
    await again.receive(DELIVERED)
    assert again.told() == [(spool_id, "delivered")]
    await again.close()


@pytest_twisted.ensureDeferred
async def test_a_crash_between_disk_and_log(path):
    """What was acknowledged to the provider and not yet written comes back after a crash."""

    async def die(_):
        raise StateUnavailable("crash")

    house = await Desk(path, record=die).open()
    spool_id = house.hand_over("SM1 SM2")
    await house.receive(DELIVERED, evolve(DELIVERED, remote_id="SM2"))
    again = await Desk(path).open()
    await again.pass_time(LEASE + LOOK_INTERVAL)
    assert again.told() == [(spool_id, "delivered")]
    await house.close()
    await again.close()


@pytest_twisted.ensureDeferred
async def test_the_same_event_twice(path):
    """Providers send again what they think was not heard; it is one event all the same."""
    house = await Desk(path).open()
    house.hand_over("SM1")
    event = evolve(DELIVERED, event_id="e1")
    await house.receive(event, event)
    await house.receive(evolve(event, text="worded anew"))
    assert len(house.records) == 1
    assert {one.name: one.value for one in house.desk.samples()}["total_receipts_repeated"] == 2
    await house.close()


@pytest_twisted.ensureDeferred
async def test_an_unknown_receipt_is_kept_counted_and_written(path):
    """A receipt for nobody is not dropped: it waits, and in the end the log has it as it came."""
    house = await Desk(path).open(park=600.0)
    await house.receive(evolve(FAILED, recipient="+1 555 0009"))
    await house.pass_time(540.0)
    assert not house.records
    assert {one.name: one.value for one in house.desk.samples()}["receipts_waiting"] == 1
    await house.pass_time(70.0)
    (record,) = house.records
    assert (record.message_id, record.recipients) == (None, ("+15550009@sms",))
    assert record.receipt.text == "30005 Unknown destination"
    await house.close()


@pytest_twisted.ensureDeferred
async def test_a_long_sms_is_delivered_when_all_its_parts_are(path):
    """One record for the whole: with the last part that arrived."""
    house = await Desk(path).open()
    spool_id = house.hand_over("A1 A2 A3")
    for remote_id in ("A2", "A1", "A2"):
        await house.receive(evolve(DELIVERED, remote_id=remote_id))
    assert not house.records
    await house.receive(evolve(DELIVERED, remote_id="A3"))
    assert house.told() == [(spool_id, "delivered")]
    assert house.records[0].parts == 3
    await house.close()


@pytest_twisted.ensureDeferred
async def test_a_long_sms_has_failed_with_its_first_part(path):
    """Who waits for the answer hears of the failure at once, and only once."""
    house = await Desk(path).open()
    spool_id = house.hand_over("A1 A2 A3")
    await house.receive(evolve(DELIVERED, remote_id="A1"), evolve(FAILED, remote_id="A3"))
    assert house.told() == [(spool_id, "failed")]
    await house.receive(evolve(DELIVERED, remote_id="A2"), evolve(FAILED, remote_id="A1"))
    assert house.told() == [(spool_id, "failed")]
    await house.close()


@pytest_twisted.ensureDeferred
async def test_parts_that_share_one_id(path):
    """A provider that reports each part under the id of the first is understood by the part's number."""
    house = await Desk(path).open()
    spool_id = house.hand_over("P1")
    parts = [evolve(DELIVERED, remote_id="P1", part=number, parts=3, event_id=str(number)) for number in (1, 2, 3)]
    await house.receive(parts[2], parts[0], evolve(parts[0], event_id="again"))
    assert not house.records
    await house.receive(parts[1])
    assert house.told() == [(spool_id, "delivered")]
    await house.close()


@pytest_twisted.ensureDeferred
async def test_ids_in_hex_here_and_in_decimal_there(path):
    """An SMS centre that changes the base is understood when the recipient agrees, or after a moment."""
    house = await Desk(path).open()
    spool_id = house.hand_over("1A2B", channel="smpp")
    event = evolve(DELIVERED, channel="smpp", remote_id="0000006699")
    await house.receive(evolve(event, recipient="15559999"))
    assert not house.records, "another number: another message"
    await house.receive(evolve(event, recipient="15550001"))
    assert house.told() == [(spool_id, "delivered")]
    await house.receive(evolve(event, event_id="no recipient"))
    assert len(house.records) == 1
    await house.pass_time(8.0)
    assert len(house.records) == 2
    await house.close()


@pytest_twisted.ensureDeferred
async def test_a_decimal_id_is_not_taken_for_a_hex_one(path):
    """Number 16 may be under way while number 10 (hex for 16) is known: it waits for its own."""
    house = await Desk(path).open()
    house.hand_over("10", "+15550001@sms", channel="smpp")
    await house.receive(evolve(DELIVERED, channel="smpp", remote_id="16", recipient="15550002"))
    sixteen = house.hand_over("16", "+15550002@sms", channel="smpp")
    await house.flush()
    assert house.told() == [(sixteen, "delivered")]
    await house.close()


@pytest_twisted.ensureDeferred
async def test_accounts_of_one_provider_are_kept_apart(path):
    """Two SMS centres count from one both; a hand-over without an account matches any."""
    house = await Desk(path).open()
    house.hand_over("1", channel="smpp", account="left")
    right = house.hand_over("1", channel="smpp", account="right")
    event = evolve(DELIVERED, channel="smpp", remote_id="1")
    await house.receive(evolve(event, account="right"))
    assert house.told() == [(right, "delivered")]
    nameless = house.hand_over("2", channel="smpp", account=None)
    await house.receive(evolve(event, account="right", remote_id="2"))
    assert house.told()[-1] == (nameless, "delivered")
    await house.receive(evolve(event, account="middle"))
    assert len(house.records) == 2
    await house.close()


@pytest_twisted.ensureDeferred
async def test_one_id_for_a_batch_of_messages(path):
    """A provider with one id for many recipients is understood by the recipient."""
    house = await Desk(path).open()
    ids = [house.hand_over("t1", f"u{number}@example.org", channel="sparkpost") for number in range(3)]
    event = evolve(DELIVERED, channel="sparkpost", remote_id="t1", recipient="U1@example.org")
    await house.receive(event)
    assert house.told() == [(ids[1], "delivered")]
    assert house.records[0].recipients == ("u1@example.org",)
    await house.close()


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("Ann <ann@example.org>", "ann@example.org"),
        ("<ann@example.org>", "ann@example.org"),
        ("+1 555 000 9", "+15550009@sms"),
        ("15550009", "+15550009@sms"),
        ("", "unknown@twilio"),
        ("no address at all", "unknown@twilio"),
        ("a b@example.org", "unknown@twilio"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_recipients_of_receipts_that_nobody_knows(path, told, shown):
    """Whatever a provider writes, the record's recipient is an address, so log hooks can make a message of it."""
    house = await Desk(path).open(park=0.0)
    await house.receive(evolve(DELIVERED, recipient=told))
    (record,) = house.records
    assert record.recipients == (shown,)
    assert parse_address(shown).email == shown
    await house.close()


@pytest_twisted.ensureDeferred
async def test_a_name_before_the_address(path):
    """A provider that keeps the name in the recipient means the same recipient."""
    house = await Desk(path).open()
    ids = [house.hand_over("r1", f"{name}@example.org", channel="resend") for name in ("ann", "bob")]
    await house.receive(evolve(DELIVERED, channel="resend", remote_id="r1", recipient="Ann Example <Ann@example.org>"))
    assert house.told() == [(ids[0], "delivered")]
    await house.close()


@pytest_twisted.ensureDeferred
async def test_a_row_that_cannot_be_read(path, failures):
    """Damage to one receipt costs that one, and the operator is told; those behind it go on."""
    house = await Desk(path).open()
    await house.receive(evolve(DELIVERED, remote_id="SM9", event_id="damaged"))
    spool_id = house.hand_over("SM1")
    house.hand_over("SM2")
    await house.flush()
    await house.file.write(lambda connection: connection.execute("UPDATE receipt SET event = x'c1'"))
    await house.file.write(lambda connection: connection.execute("UPDATE handover SET facts = x'c1' WHERE number = 2"))
    await house.receive(evolve(DELIVERED, remote_id="SM2", event_id="no facts"))
    await house.receive(evolve(DELIVERED, event_id="good"))
    await house.pass_time(10.0)
    assert house.told() == [(spool_id, "delivered")]
    failures.expect("receipt 1 of the ledger cannot be read")
    await house.close()


@pytest_twisted.ensureDeferred
async def test_what_is_old_or_too_much_is_forgotten(path):
    """The file does not grow for ever: by age and by number of rows; what is not done with stays."""
    house = await Desk(path).open(keep=1000.0, keep_rows=100, park=1e9)
    await house.receive(DELIVERED)
    for number in range(150):
        house.hand_over(f"id{number}")
    await house.pass_time(100.0)
    rows = await house.file.read(lambda connection: connection.execute("SELECT count(*) FROM handover").fetchone()[0])
    assert rows == 100
    await house.pass_time(1100.0)
    rows = await house.file.read(lambda connection: connection.execute("SELECT count(*) FROM handover").fetchone()[0])
    assert rows == 0
    spool_id = house.hand_over("SM1")
    await house.flush()
    assert house.told() == [(spool_id, "delivered")]
    await house.close()


@pytest_twisted.ensureDeferred
async def test_a_token_counts_once_and_not_for_ever(path):
    """What a signed call showed is known on every worker and after a restart, until the call is too old anyway."""
    house = await Desk(path).open()
    until = house.clock.seconds() + 3600.0
    assert await house.desk.receive_once([DELIVERED], "token", until)
    assert not await house.desk.receive_once([FAILED], "token", until)
    await house.close()
    again = await Desk(path, house.clock).open()
    assert not await again.desk.receive_once([FAILED], "token", until)
    await again.pass_time(3700.0)
    assert await again.desk.receive_once([], "token", until)
    await again.close()


@pytest_twisted.ensureDeferred
async def test_too_many_that_nobody_knows(path):
    """Past the bound the provider is told to come again; what is noted stays."""
    house = await Desk(path).open(max_parked=3)
    for number in range(4):
        await house.receive(evolve(DELIVERED, remote_id=f"x{number}"))
    with pytest.raises(Overload):
        await house.desk.receive([evolve(DELIVERED, remote_id="x9")])
    await house.close()


@pytest_twisted.ensureDeferred
async def test_a_stop_loses_no_hand_over(path):
    """What was handed over a moment before the stop is in the ledger after it."""
    house = await Desk(path).open()
    for number in range(1234):
        house.hand_over(f"id{number}")
    await house.desk.close()
    assert {one.name: one.value for one in house.desk.samples()}["total_handovers"] == 1234
    rows = await house.file.read(lambda connection: connection.execute("SELECT count(*) FROM handover").fetchone()[0])
    assert rows == 1234
    await house.file.close()


@pytest_twisted.ensureDeferred
async def test_only_hand_overs_with_an_id_are_noted(path):
    """Ordinary mail and log hooks cost the ledger nothing, nor does what nobody reports on."""
    house = await Desk(path).open()
    message = Message(NEW_ID(), EnvelopeAddress("", ""), (), {}, b"")
    record = Record(type=RecordType.DELIVERY, event_time=0.0, response=Response(250, "ok"), message=message)
    house.desk.handovers.note(record)
    house.hand_over("wh1", channel="webhook")
    house.hand_over("f1", channel="fcm")
    await house.flush()
    assert {one.name: one.value for one in house.desk.samples()}["total_handovers"] == 0
    await house.close()


@pytest_twisted.ensureDeferred
async def test_a_provider_without_ids(path):
    """Kannel names no message, and gives our id back: that is enough."""
    house = await Desk(path).open()
    spool_id = house.hand_over("", channel="kannel")
    await house.receive(evolve(DELIVERED, channel="kannel", remote_id="", spool_id=spool_id))
    assert house.told() == [(spool_id, "delivered")]
    assert house.records[0].queue
    await house.close()


@pytest_twisted.ensureDeferred
async def test_metadata_that_is_no_json_or_too_long(path):
    """A policy's odd metadata costs the facts, never the match."""
    house = await Desk(path).open()
    house.hand_over("SM1", tenant="t", odd=2**70)
    house.hand_over("SM2", tenant="t", long="x" * 10_000)
    await house.receive(DELIVERED, evolve(DELIVERED, remote_id="SM2"))
    assert [one.meta for one in house.records] == [{"tenant": "t"}, {"tenant": "t"}]
    await house.close()
