"""The simulator: outages against the real selection code, reproducible, and clear about mistakes."""

import json
from xml.etree import ElementTree

import pytest
from attrs import evolve

from kumotwist.config.option import Duration
from kumotwist.core.errors import ConfigError
from kumotwist.trial.choosers import Fixed, Learned, Stepwise
from kumotwist.trial.scenario import SCENARIOS, Trouble, read
from kumotwist.trial.simulate import main
from kumotwist.trial.simulation import simulate

SCENARIO = """
title = "short"
duration = "10 minutes"
rate = 20
[learn]
receipt_within = "1 minute"
[[routes]]
name = "a"
weight = 60
[[routes]]
name = "b"
weight = 40
[[trouble]]
route = "a"
from = "2 minutes"
until = "5 minutes"
success = 0.0
"""


def shortened(name):
    """A built-in scenario in a sixth of the time."""
    scenario = SCENARIOS[name]
    trouble = tuple(
        evolve(one, start=Duration(one.start / 6), until=Duration(one.until / 6)) for one in scenario.trouble
    )
    return evolve(scenario, duration=Duration(scenario.duration / 6), trouble=trouble)


@pytest.mark.parametrize("name", [name for name, one in SCENARIOS.items() if one.trouble and one.trouble[0].route])
def test_trouble_costs_fewer_messages_than_with_fixed_weights(name):
    """In every scenario with a route in trouble."""
    scenario = shortened(name)
    learned, fixed = simulate(scenario, Learned(scenario.table)), simulate(scenario, Fixed(scenario.table))
    assert learned.lost < fixed.lost


@pytest.mark.parametrize("name", ["dies", "dies-small"])
def test_sudden_death_costs_a_handful(name):
    """Whatever the volume: four messages and the trials."""
    scenario = shortened(name)
    assert simulate(scenario, Learned(scenario.table)).lost <= 12


def test_sudden_death_costs_a_fifth_of_what_it_costs_govuk():
    """The rule that moves ten points at a time."""
    scenario = shortened("dies")
    ours, theirs = simulate(scenario, Learned(scenario.table)), simulate(scenario, Stepwise(scenario.table))
    assert ours.lost * 5 <= theirs.lost


def test_routes_that_are_equally_good_keep_their_shares():
    """Noise moves nothing to speak of."""
    scenario = shortened("all-good")
    run = simulate(scenario, Learned(scenario.table))
    assert [round(one / sum(run.sent), 1) for one in run.sent] == [0.2, 0.1, 0.7]


def test_the_same_seed_gives_the_same_run():
    """A table in the docs can be made again."""
    scenario = shortened("tempfails")
    first, second = (simulate(scenario, Learned(scenario.table), seed=5) for _ in range(2))
    assert (first.lost, first.sent, first.history) == (second.lost, second.sent, second.history)


def test_a_scenario_of_ones_own(tmp_path, capsys):
    """A TOML file, results for programs, and a picture."""
    path = tmp_path / "short.toml"
    path.write_text(SCENARIO)
    assert main(["--scenario", str(path), "--json", "--plot", str(tmp_path)]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result["title"] == "short"
    assert result["runs"]["learned"]["lost"] < result["runs"]["fixed weights"]["lost"]
    drawing = ElementTree.fromstring((tmp_path / "short.svg").read_text())
    assert len(drawing.findall("{http://www.w3.org/2000/svg}polyline")) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("title = ", "Invalid value"),
        (SCENARIO.replace("success", "succes"), "did you mean 'success'"),
        (SCENARIO.replace('route = "a"', 'route = "c"'), "names no route 'c'"),
        (SCENARIO.replace("weight = 60", "weight = -1"), "must be 0 or more"),
        (SCENARIO.replace('"10 minutes"', '"soon"'), "is not a duration"),
    ],
)
def test_mistakes_in_a_scenario_are_named(tmp_path, text, words):
    """With the file and the option."""
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read(str(path))


def test_a_scenario_that_does_not_exist(capsys):
    """The error lists those that do."""
    assert main(["--scenario", "dyes"]) == 2
    assert "did you mean 'dies'" in capsys.readouterr().err


def test_all_routes_may_be_in_trouble():
    """Nothing is named, all are meant."""
    assert Trouble(start=Duration(0.0), until=Duration(1.0)).route is None
