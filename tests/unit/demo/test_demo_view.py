"""What the demonstration shows of routes: shares over time, and their moves in words."""

import io

import pytest
from rich.console import Console

from kumotwist.demo.gauges import Gauges
from kumotwist.demo.moves import Moves
from kumotwist.demo.outage import Cost, Outages
from kumotwist.demo.screen import Screen
from kumotwist.demo.stream import Stream
from kumotwist.demo.tally import Tally


def numbers(share, is_open=0.0):
    """As /metrics.json has them, with a class of its own beside that of all."""
    rows = [{"table": "bulk", "route": one, "class": "all"} for one in ("sendgrid", "sparkpost", "local")]
    values = {"route_share": share, "route_health": 0.9, "route_breaker_open": is_open}
    shown = {name: {"value": [{**row, "@": value} for row in rows]} for name, value in values.items()}
    shown["route_share"]["value"].insert(0, {"table": "bulk", "route": "sendgrid", "class": "gmail.com", "@": 0.5})
    shown["route_resting_share"] = {"value": [{"table": "bulk", "route": row["route"], "@": 0.2} for row in rows]}
    return shown


class Daemon(Gauges):
    """Gauges of a daemon whose answers are given."""

    def __init__(self, *answers):
        super().__init__(0)
        self._answers = iter(answers)

    def _ask(self):
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


def change(route, what, before, after, at, why="sendgrid: 80% of 42"):
    return {
        "event_time": f"2026-11-25T13:11:{at:02d}.000000000Z",
        "route": route,
        "route_change": {"what": what, "before": before, "after": after, "evidence": why},
    }


def screen_of(gauges, tmp_path, width, height, **options):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height, **options)
    tally = Tally(tmp_path, Cost(Outages(lambda _: None, 3, 6, 30, 20)))
    return Screen(console, tally, gauges, Stream(0, 0, 1.0))


def test_a_share_that_was_gone_for_a_moment_is_seen():
    """The course has the least of each stretch, and what is known until something new is."""
    gauges = Daemon(numbers(0.2), numbers(0.0, 1.0), OSError("busy"), numbers(0.2), {})
    for elapsed in (1, 9, 15, 10, 31):
        gauges.update(elapsed)
    assert gauges.course("sendgrid", 3) == [None, None, 0.0]
    gauges = Daemon(*[numbers(0.2)] * 3)
    for elapsed in (0, 21, 30):
        gauges.update(elapsed)
    assert gauges.course("sendgrid", 3) == [0.2, 0.2, 0.2]


def test_a_daemon_that_is_busy_leaves_the_last_numbers():
    """A scrape that fails is no outage."""
    gauges = Daemon(numbers(0.2, 1.0), OSError("busy"), {})
    for elapsed in (1, 2, 3):
        gauges.update(elapsed)
    assert gauges.routes["sendgrid"].share == 0.2
    assert gauges.is_open("sendgrid")
    assert not gauges.is_open("nobody")


def test_moves_are_told_once_and_small_ones_not_at_all():
    """Two workers open their breakers a second apart; the others make room by a few percent."""
    moves = Moves()
    moves.note(change("sendgrid", "share", "0.200", "0.030", 12))
    moves.note(change("sendgrid", "breaker", "closed", "open", 11, "80% of its last messages went well"))
    moves.note(change("sendgrid", "breaker", "closed", "open", 12, "worker 1 has opened it"))
    moves.note(change("local", "share", "0.700", "0.850", 12))
    moves.note(change("sparkpost", "share", "0.040", "0.010", 12))
    moves.note(change("sendgrid", "breaker", "trial", "closed", 21, "75% of its last messages went well"))
    expected = [
        "13:11:11 SendGrid API breaker opens: 80% of its last messages went well",
        "13:11:12 SendGrid API 20% -> 3%, breaker aside: 80% of 42",
        "13:11:21 SendGrid API breaker closes: 75% of its last messages went well",
    ]
    assert moves.latest(5) == expected
    assert moves.latest(1) == expected[-1:]
    assert moves.latest(0) == []
    assert sorted(moves.untold()) == expected
    assert moves.untold() == []


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (60, 15)])
def test_it_fits_the_terminal(tmp_path, width, height):
    """No line is as long as the terminal is wide, or `^C` would break it; at 80x24 everything is seen."""
    gauges = Daemon(numbers(0.2), numbers(0.0, 1.0))
    screen = screen_of(gauges, tmp_path, width, height)
    for elapsed in (1, 2):
        gauges.update(elapsed)
    for at in range(30):
        screen.tally.moves.note(change("sendgrid", "breaker", "closed", "open", at, "x" * 200))
        screen.tally.events.append("y" * 200)
    screen.console.print(screen.whole("sending", "z" * 200))
    lines = screen.console.file.getvalue().splitlines()
    assert len(lines) < 24 or height > 24
    assert any("13:11:27" in line for line in lines)
    assert any("yyy" in line for line in lines)


def test_where_there_is_no_terminal_a_change_is_told_once(tmp_path):
    """A log of the demonstration has a line for each thing that happens, not the same one every two seconds."""
    screen = screen_of(Daemon(), tmp_path, 80, 24)
    screen.console = Console(file=io.StringIO(), force_terminal=False, width=80)
    stories = [f"SendGrid refuses everything ({left} left); breaker closed" for left in (6, 5)]
    stories += [f"SendGrid refuses everything ({left} left); breaker open" for left in (5, 4, 3, 2, 1)]
    stories += ["the breaker's next trial will find out"] * 20
    with screen:
        for story in stories:
            screen.show("sending", story)
    lines = screen.console.file.getvalue().splitlines()
    assert [line.strip() for line in lines if not line.startswith("sending")] == [stories[0], stories[2], stories[-1]]
    assert len(lines) == 3 + len(stories) // 4, "how things stand is told now and then"


def test_a_terminal_without_blocks_gets_letters(tmp_path):
    """The course of a share is drawn with what the terminal's encoding has."""
    gauges = Daemon(numbers(0.2), numbers(0.0, 1.0))
    for elapsed in (1, 2):
        gauges.update(elapsed)
    shown = []
    for encoding in ("utf-8", "ascii"):
        screen = screen_of(gauges, tmp_path, 80, 24, color_system=None)
        screen.console.file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
        with screen.console.capture() as capture:
            screen.console.print(screen.tables())
        shown.append(next(line for line in capture.get().splitlines() if line.startswith("SendGrid")))
    assert "▁" in shown[0]
    assert shown[1].isascii()
