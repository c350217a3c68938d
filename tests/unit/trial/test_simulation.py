"""What simulations show of the choice among routes, for several tables, volumes and seeds (issue 4, "Shown by")."""

import pytest
from attrs import evolve

from kumotwist.config.option import Duration
from kumotwist.config.routes import LearnConfig, RouteEntry, RouteTableConfig
from kumotwist.trial.choosers import Fixed, Learned, Stepwise
from kumotwist.trial.scenario import Scenario, Trouble
from kumotwist.trial.shipped import EXAMPLE, SCENARIOS
from kumotwist.trial.simulation import simulate

SEEDS = (1, 2, 3)
WITH_TROUBLE = [name for name, one in SCENARIOS.items() if one.trouble and one.trouble[0].route]
TABLES = {"20/10/70": (20, 10, 70), "50/50": (50, 50), "five": (20, 20, 20, 20, 20), "tiny": (99, 1)}


def table(*weights, **options):
    """Routes a, b, c, … with these weights."""
    routes = tuple(RouteEntry(name="abcdefgh"[at], weight=float(weight)) for at, weight in enumerate(weights))
    options.setdefault("learn", LearnConfig(receipt_within=Duration(120.0)))
    return RouteTableConfig(name="t", routes=routes, **options)


def shortened(name, config=EXAMPLE, factor=6.0, rate=25.0):
    """A shipped scenario in a sixth of the time, on a table."""
    scenario = SCENARIOS[name]
    trouble = tuple(
        evolve(one, from_=Duration(one.from_ / factor), until=Duration(one.until / factor)) for one in scenario.trouble
    )
    return evolve(scenario, duration=scenario.duration / factor, trouble=trouble, rate=rate).on(config)


def lost(scenario, make, seed=1):
    """Messages that trouble cost."""
    return simulate(scenario, make(scenario.table), seed).lost


def outage(config, *, rate=20.0, **what):
    """Ten minutes, in trouble from the third to the seventh."""
    trouble = Trouble(from_=Duration(180.0), until=Duration(420.0), **{"route": "a", "success": 0.0, **what})
    return Scenario(title="outage", table=config, trouble=(trouble,), duration=600.0, rate=rate).on(config)


@pytest.mark.parametrize("name", WITH_TROUBLE)
def test_trouble_costs_fewer_messages_than_with_any_other_chooser(name):
    """In every scenario with a route in trouble, and not by the luck of one seed."""
    scenario = shortened(name, rate=10.0)
    for seed in SEEDS[:2]:
        ours = lost(scenario, Learned, seed)
        assert ours < lost(scenario, Stepwise, seed)
        assert ours < lost(scenario, Fixed, seed)


@pytest.mark.parametrize("weights", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize(("rate", "factor"), [(1.0, 6.0), (100.0, 30.0)])
def test_sudden_death_costs_a_handful(weights, rate, factor):
    """Whatever the table and the volume: four messages and the trials, a fifth of what it costs the others."""
    scenario = shortened("dies", table(*weights), factor, rate)
    ours = lost(scenario, Learned)
    assert ours <= 12
    assert ours * 5 <= lost(scenario, Stepwise)
    assert ours * 5 <= lost(scenario, Fixed)


@pytest.mark.parametrize("weights", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("name", ["tempfails", "bounces", "loses-receipts"])
def test_other_tables_lose_no_more_than_with_fixed_weights(name, weights):
    """One a second is little evidence; where a route has 1 % of that, too little."""
    scenario = shortened(name, table(*weights), factor=2.0, rate=1.0)
    ours, fixed = (sum(lost(scenario, make, seed) for seed in SEEDS) for make in (Learned, Fixed))
    assert ours < fixed or (1 in weights and ours <= fixed * 1.01)


@pytest.mark.parametrize("weights", TABLES.values(), ids=TABLES)
def test_equally_bad_routes_are_no_worse_than_with_fixed_weights(weights):
    """Every chooser meets the same chances, so the figures are the same, not only alike."""
    scenario = shortened("all-bad", table(*weights))
    assert lost(scenario, Learned) == lost(scenario, Fixed)


def test_equally_good_routes_keep_their_shares():
    """Noise moves nothing to speak of, whatever the seed."""
    scenario = shortened("all-good", rate=10.0)
    for seed in SEEDS:
        sent = simulate(scenario, Learned(scenario.table), seed).sent
        assert [round(one / sum(sent), 1) for one in sent] == [0.2, 0.1, 0.7]


@pytest.mark.parametrize("success", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("rate", [1.0, 10.0])
def test_equally_bad_routes_keep_their_shares(success, rate):
    """However bad they all are: nobody is worse than another, and no breaker takes one for dead for long."""
    trouble = Trouble(from_=Duration(60.0), until=Duration(1800.0), success=success)
    scenario = Scenario(title="bad", table=table(20, 10, 70), trouble=(trouble,), duration=1800.0, rate=rate)
    for seed in SEEDS:
        run = simulate(scenario.on(scenario.table), Learned(scenario.table), seed)
        assert [one / sum(run.sent) for one in run.sent] == pytest.approx([0.2, 0.1, 0.7], abs=0.06)


def test_a_class_in_trouble_moves_alone():
    """What the largest route does to gmail.com is no news for the others (issue 4, "per route and class")."""
    scenario = shortened("one-class-dies", factor=3.0)
    run = simulate(scenario, Learned(scenario.table))
    during = {name: [shares[2] for at, shares in seen if 230 <= at < 590] for name, seen in run.history.items()}
    assert max(during["gmail.com"]) < 0.1
    assert sum(during["outlook.com"]) / len(during["outlook.com"]) == pytest.approx(0.7, abs=0.05)
    assert sum(during["example.org"]) / len(during["example.org"]) == pytest.approx(0.7, abs=0.05)
    (span,) = run.spans
    assert span.left_after is not None
    assert span.left_after < 10.0


def test_a_table_that_has_one_class_moves_as_one():
    """`class = 'all'`: what goes to one domain moves everything."""
    config = table(70, 20, 10, class_="all")
    scenario = shortened("one-class-dies", config)
    run = simulate(scenario, Learned(config))
    assert run.history["gmail.com"] == run.history["outlook.com"]


def test_a_standby_takes_over_while_the_only_route_is_dead():
    """Weight 0, as the daemon plays it; fixed weights never use it."""
    scenario = evolve(outage(table(100, 0)), duration=900.0)
    run = simulate(scenario, Learned(scenario.table))
    assert run.lost <= 12
    assert run.history[""][300][1] == (0.0, 1.0)
    assert run.history[""][-1][1] == (1.0, 0.0)
    assert run.sent[1] > 4000
    assert simulate(scenario, Fixed(scenario.table)).sent == [18000, 0]
    assert lost(scenario, Stepwise) < lost(scenario, Fixed), "the rule has nowhere else to go to"


@pytest.mark.parametrize("make", [Learned, Stepwise, Fixed])
def test_the_next_route_takes_what_one_refused(make):
    """`on_failure = 'next_route'`: the same messages are spared, whoever chooses."""
    waits, goes_on = (outage(table(60, 40, 0, on_failure=what), success=0.5) for what in ("retry", "next_route"))
    assert simulate(waits, make(waits.table)).saved == 0
    run = simulate(goes_on, make(goes_on.table))
    # Each refusal goes on at once; the standby hears of those that both have refused.
    assert run.saved > run.lost * 0.9 > 0
    assert sum(run.sent) > 12_000


def test_all_routes_dead_leaves_nothing_to_choose():
    """Each is tried once, and the message is given up."""
    scenario = outage(table(50, 50, on_failure="next_route"), route=None, rate=5.0)
    run = simulate(scenario, Learned(scenario.table))
    assert run.lost == 2 * 240 * 5
    assert run.spans[0].left_after is None


@pytest.mark.parametrize("on_failure", ["retry", "next_route"])
def test_an_outage_of_all_routes_leaves_shares_at_rest_and_the_living_are_found(on_failure):
    """While it lasts there is nothing to learn; then whichever is back takes over from those that are not."""
    scenario = shortened("outage-of-all", evolve(EXAMPLE, on_failure=on_failure))
    run = simulate(scenario, Learned(scenario.table))
    looks = dict(run.history[""])
    assert [round(share, 1) for share in looks[190.0]] == [0.2, 0.1, 0.7]
    assert [round(share, 2) for share in looks[240.0]] == [1.0, 0.0, 0.0], "the first one that is back"
    assert looks[590.0][2] > 0.65, "the largest is back; one that was dead for long is tried again within ten minutes"
    left = [span.left_after for span in run.spans]
    assert left[2] is None
    assert max(left[:2]) < 10.0


def test_sticky_keys_are_drawn():
    """The shares are kept all the same."""
    scenario = outage(table(70, 30, sticky_by="recipient"))
    run = simulate(scenario, Learned(scenario.table))
    assert run.lost <= 12
    before = sum(shares[0] for at, shares in run.history[""] if at < 180) / 180
    assert before == pytest.approx(0.7, abs=0.02)


def test_a_table_that_waits_for_no_receipts_learns_nothing_from_their_absence():
    """As the daemon, which has no deadline then."""
    config = table(70, 30, learn=LearnConfig())
    scenario = outage(config, success=None, receipts=0.0)
    run = simulate(scenario, Learned(config))
    assert run.history[""][-1][1] == (0.7, 0.3)
    assert run.lost == lost(scenario, Fixed)


def test_the_worst_of_several_troubles_holds():
    """A route that slows down while it dies is dead."""
    config = table(50, 50)
    troubles = [
        Trouble(from_=Duration(60.0), until=Duration(300.0), route="a", success=0.9),
        Trouble(from_=Duration(120.0), until=Duration(180.0), route="a", success=0.0),
    ]
    both = Scenario(title="both", table=config, trouble=tuple(troubles), duration=300.0, rate=20.0)
    turned = evolve(both, trouble=tuple(reversed(troubles)))
    assert lost(both, Fixed) == lost(turned, Fixed) >= 60 * 10


@pytest.mark.parametrize(("role", "route"), [("largest", "b"), ("smallest", "c"), ("first", "a"), ("a", "a")])
def test_a_trouble_may_name_a_role(role, route):
    """So the shipped scenarios run on any table; a standby is nobody's smallest."""
    scenario = outage(table(20, 70, 10, 0), route=role)
    assert scenario.trouble[0].route == route
