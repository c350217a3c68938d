"""The simulator's command: reproducible, clear about mistakes, with pictures that can be read."""

import json
from xml.etree import ElementTree

import pytest

from kumotwist.config.routes import RouteEntry, RouteTableConfig
from kumotwist.core.errors import ConfigError
from kumotwist.trial.scenariofile import read
from kumotwist.trial.shipped import SCENARIOS
from kumotwist.trial.simulate import question, run

SVG = "{http://www.w3.org/2000/svg}"
SCENARIO = """
title = "short | sharp"
duration = "5 minutes"
rate = 10
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
from = "1 minute"
until = "3 minutes"
success = 0.0
"""
BY_CLASS = SCENARIO.replace("[learn]", '[classes]\n"gmail.com" = 3\n"other.example" = 1\n[learn]').replace(
    "success = 0.0", 'success = 0.0\nclass = "gmail.com"'
)


def main(*arguments):
    """As the console script has it."""
    return run(question([str(one) for one in arguments]))


@pytest.fixture
def short(tmp_path):
    """A scenario of one's own."""
    path = tmp_path / "short.toml"
    path.write_text(SCENARIO)
    return path


def test_a_scenario_of_ones_own(short, capsys):
    """A TOML file; results for programs have the medians and each run."""
    assert main("--scenario", short, "--json", "--seeds", 3) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert (result["title"], result["routes"]) == ("short | sharp", ["a", "b"])
    runs = result["runs"]
    assert runs["learned"]["lost"] < runs["GOV.UK's rule"]["lost"] <= runs["fixed weights"]["lost"]
    each = [one["lost"] for one in runs["learned"]["each"]]
    assert runs["learned"]["lost"] == sorted(each)[1]


def test_the_same_seed_gives_the_same_table(short, capsys):
    """A table in the docs can be made again."""
    for _ in range(2):
        assert main("--scenario", short, "--seed", 7) == 0
    first, second = capsys.readouterr().out.split("| scenario |")[1:]
    assert first == second
    assert "| short \\| sharp | learned |" in first


def test_pictures_have_a_panel_for_each_chooser(short, tmp_path):
    """With title, axes and their units, legend, and the trouble shaded; as SVG and as PNG."""
    assert main("--scenario", short, "--plot", tmp_path / "made" / "here") == 0
    drawing = ElementTree.fromstring((tmp_path / "made/here/short.svg").read_text())
    words = [one.text for one in drawing.iter(f"{SVG}text")]
    assert {"short | sharp", "learned", "GOV.UK's rule", "fixed weights", "a", "b", "trouble"} <= set(words)
    assert (words.count("share of messages"), words.count("time in minutes"), words.count("100 %")) == (3, 1, 3)
    assert len(drawing.findall(f"{SVG}polyline")) == 6
    shaded = [one for one in drawing.iter(f"{SVG}rect") if one.get("fill") == "#f6dede"]
    assert len(shaded) == 4, "three panels and the legend"
    assert (tmp_path / "made/here/short.png").read_bytes().startswith(b"\x89PNG")


def test_a_class_in_trouble_has_panels_of_its_own(tmp_path):
    """Beside those of all other messages, where nothing is shaded."""
    path = tmp_path / "classes.toml"
    path.write_text(BY_CLASS)
    assert main("--scenario", path, "--plot", tmp_path) == 0
    drawing = ElementTree.fromstring((tmp_path / "classes.svg").read_text())
    words = [one.text for one in drawing.iter(f"{SVG}text")]
    assert {"learned, gmail.com", "learned, all other messages"} <= set(words)
    assert len([one for one in drawing.iter(f"{SVG}rect") if one.get("fill") == "#f6dede"]) == 4


def test_the_table_goes_into_a_page(short, tmp_path, capsys):
    """Between its two marks; what stands around them stays."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- simulation -->\nold\n<!-- /simulation -->\nbehind\n")
    assert main("--scenario", short, "--into", page) == 0
    table = capsys.readouterr().out
    assert page.read_text() == f"before\n<!-- simulation -->\n{table}<!-- /simulation -->\nbehind\n"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("title =", "title", "line 2"),
        ("success", "succes", "did you mean 'success'"),
        ("rate", "rat", "did you mean 'rate'"),
        ('route = "a"', 'route = "largets"', "did you mean 'largest'.* 'short' has a, b|; table"),
        ('route = "a"', 'class = "gmail.com"', "names no class 'gmail.com'"),
        ("weight = 60", "weight = -1", "must be 0 or more"),
        ("weight = 60", "weight = nan", "must be 0 or more"),
        ('"5 minutes"', '"soon"', "is not a duration"),
        ('"5 minutes"', '"0s"', "'duration' must be more than 0"),
        ('"5 minutes"', '"20 years"', "more than 2,000,000"),
        ('"5 minutes"', "inf", "cannot be negative or infinite"),
        ("rate = 10", "rate = -1", "'rate' must be more than 0"),
        ("rate = 10", "rate = nan", "'rate' must be more than 0"),
        ("rate = 10", "rate = 1e-9", "no message at all"),
        ("success = 0.0", "success = 1.5", "between 0 and 1"),
        ("success = 0.0", "delay = 0", "option 'trouble.1.delay' must be more than 0"),
        ('"3 minutes"', '"1 minute"', "option 'trouble.1.until' must be later"),
        ("[[trouble]]", "[trouble]", "must be a list"),
        ("[learn]", "[classes]\na = -1\n[learn]", "a part above 0"),
        ('"short | sharp"', '"two\\nlines"', "one line"),
        (SCENARIO, "duration = 60", r"no \[\[routes\]\]"),
        (SCENARIO, "a = " + "[" * 5000, "nested too deeply|line 1"),
        (SCENARIO, "a" * 1_100_000, "at most"),
    ],
)
def test_mistakes_in_a_scenario_are_named(tmp_path, old, new, words):
    """With the file, and the line or the option."""
    path = tmp_path / "own.toml"
    path.write_text(SCENARIO.replace(old, new))
    with pytest.raises(ConfigError, match=words) as caught:
        read(str(path))
    assert str(caught.value).startswith(str(path))


def test_a_file_that_is_no_text(tmp_path):
    """Neither is a directory, or a name that no file can have."""
    path = tmp_path / "own.toml"
    path.write_bytes(b"\xff\xfe")
    for name in (str(path), str(tmp_path), "a\0b"):
        with pytest.raises(ConfigError):
            read(name)


def test_a_scenario_that_is_no_text_is_named(tmp_path):
    """In our words, with the place."""
    file = tmp_path / "bad.toml"
    file.write_bytes(b"rate = 1\n\xff")
    with pytest.raises(ConfigError, match=r"bad\.toml: is no text in UTF-8: octet 10 begins no character"):
        read(str(file))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scenario", "dyes"], "did you mean 'dies'"),
        (["--scenario", "{short}", "--plot", "{short}"], "short.toml: is no directory"),
        (["--scenario", "{short}", "--plot", "{short}/below"], "Not a directory"),
        (["--scenario", "{short}", "--into", "{short}"], "has no lines <!-- simulation -->"),
        (["--scenario", "{short}", "--into", "/nowhere/page.md"], "/nowhere/page.md: No such file"),
    ],
)
def test_what_cannot_be_read_or_written(short, capsys, arguments, words):
    """Exit status 2 and one line; nothing was simulated for nothing."""
    assert main(*[one.format(short=short) for one in arguments]) == 2
    told = capsys.readouterr()
    assert words in told.err
    assert (told.err.count("\n"), told.out) == (1, "")


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_shipped_scenario_fits_any_table(name):
    """Whatever its routes are called; the roles are those of that table."""
    table = RouteTableConfig(name="t", routes=(RouteEntry(name="x", weight=1.0), RouteEntry(name="y", weight=2.0)))
    scenario = read(name, table)
    assert {one.route for one in scenario.trouble} <= {"x", "y", None}
    one_route = RouteTableConfig(name="t", routes=(RouteEntry(name="x", weight=1.0),))
    assert {one.route for one in read(name, one_route).trouble} <= {"x", None}


@pytest.mark.parametrize("arguments", [["--seeds=0"], ["--seeds=101"], ["--table=bulk"], ["--seed=x"]])
def test_a_wrong_command_line(arguments, capsys):
    """Exit status 2 and a word on it."""
    with pytest.raises(SystemExit) as caught:
        question(["--scenario=dies", *arguments])
    assert caught.value.code == 2
    assert "--" in capsys.readouterr().err
