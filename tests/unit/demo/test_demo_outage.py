"""The demonstration's outages: when they come, and what they cost by the log."""

import pytest

from kumotwist.demo.outage import Cost, Outages

START = 1_800_000_000.0


class World:
    """A clock that stands where it is put, and the outages that were asked for."""

    def __init__(self, duration):
        self.elapsed = 0.0
        self.asked = []
        self.outages = Outages(
            lambda seconds: self.asked.append((self.elapsed, seconds)), 3, 6, 30, duration, lambda: START + self.elapsed
        )

    def run(self, until):
        while self.elapsed < until:
            self.elapsed += 0.5
            self.outages.tick(self.elapsed)


def record(kind, at, name="m", route="", attempts=0):
    moment = f"2027-01-15T08:00:{at:012.9f}Z"
    return {"type": kind, "event_time": moment, "id": name, "route": route, "num_attempts": attempts}


@pytest.mark.parametrize(("duration", "begun"), [(20, [3]), (2, []), (45, [3]), (55, [3, 33]), (None, [3, 33, 63])])
def test_a_short_run_has_one_outage_and_an_endless_one_has_more(duration, begun):
    """Whoever runs it for 20 seconds sees one and its end; none begins that could not be seen to its end."""
    world = World(duration)
    world.run(duration or 70)
    assert world.asked == [(float(one), 6) for one in begun]


def test_the_screen_says_what_goes_on():
    """Before, during and after, in words that fit a line."""
    world = World(20)
    world.run(1)
    told = [world.outages.told(1, is_open=False)]
    world.run(4)
    told.append(world.outages.told(4, is_open=True))
    world.run(9)
    told.append(world.outages.told(9, is_open=True))
    told.append(world.outages.told(9, is_open=False))
    assert told == [
        "all is well; in 2 s SendGrid's stand-in will refuse everything for a while",
        "SendGrid's stand-in refuses everything for 6 s (5 left); breaker open",
        "SendGrid's stand-in is well again; the breaker's next trial will find out",
        "SendGrid has its share back",
    ]
    assert max(map(len, told)) < 78


def test_an_outage_that_the_end_of_sending_cuts_short_counts_as_far_as_it_went():
    """After Ctrl-C in the middle of it the summary speaks of the seconds that there were."""
    world = World(None)
    world.run(5)
    world.outages.stop()
    assert world.outages.seconds == 2.0


def test_what_an_outage_costs_is_counted_by_attempts_and_by_what_became_of_their_messages():
    """Attempts that failed by themselves, on other routes or at other times are not the outage's."""
    world = World(20)
    world.run(9)
    cost = Cost(world.outages)
    for number in range(10):
        cost.note(record("Reception", 4, f"{number}"))
    cost.note(record("Delivery", 2.9, "early", "sendgrid"))
    for name in ("at once", "later", "bounced", "waiting"):
        cost.note(record("TransientFailure", 4.1, name, "sendgrid"))
    cost.note(record("TransientFailure", 4.1, "other", "local"))
    cost.note(record("TransientFailure", 9.5, "after", "sendgrid"))
    cost.note(record("Delivery", 4.2, "at once", "local"))
    cost.note(record("Delivery", 4.2, "other", "sparkpost"))
    cost.note(record("TransientFailure", 4.2, "later", "local"))
    cost.note(record("Delivery", 6.2, "later", "local", 1))
    cost.note(record("Bounce", 4.2, "bounced", "local"))
    assert cost.told(0.2) == (
        "the outage of 6.0 s cost 4 attempts, a fixed split would have made 2 or more; of their messages 1 went on at "
        "once (local relay 1), 1 later, 1 still wait, 1 bounced"
    )
    assert cost.went == {"sendgrid": 1}
