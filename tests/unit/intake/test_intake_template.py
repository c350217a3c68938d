"""Templates: what they print, how their errors read, and where they end."""

import pytest

from kumotwist.intake.inject import template
from kumotwist.intake.inject.template import TemplateProblem, Templates, variables_for


def test_variables_are_filled_in():
    """`{{ name }}` shows the recipient's name; an unknown variable shows nothing."""
    compiled = Templates(lambda: 1687624642.5).compile("Hello {{ name }}{{ nothing }}!", "content")
    assert compiled.render({"name": "Ann"}) == "Hello Ann!"


def test_html_is_escaped_and_text_is_not():
    """A name cannot put markup into an HTML body."""
    templates = Templates(lambda: 1687624642.5)
    assert templates.compile("{{ n }}", "f", is_html=True).render({"n": "<b>"}) == "&lt;b&gt;"
    assert templates.compile("{{ n }}", "f").render({"n": "<b>"}) == "<b>"


def test_static_text_is_left_alone():
    """With the dialect Static, and without any markup, the text is what was sent."""
    templates = Templates(lambda: 1687624642.5)
    assert templates.compile("{{ n }}", "f", dialect="Static").render({"n": "x"}) == "{{ n }}"
    assert templates.compile("no markup {", "f").is_static
    assert len(templates) == 0


def test_handlebars_is_refused_by_name():
    """A dialect that is not there is named, with what there is."""
    with pytest.raises(TemplateProblem, match="Handlebars is not supported, use Jinja or Static"):
        Templates(lambda: 1687624642.5).compile("x", "content", dialect="Handlebars")


def test_a_syntax_error_names_field_line_and_text():
    """The client sees which field, which line and what stands there."""
    with pytest.raises(TemplateProblem) as caught:
        Templates(lambda: 1687624642.5).compile("Hi,\nHello {{ First Name }},", "content.text_body")
    assert str(caught.value) == (
        "failed parsing field 'content.text_body' as template: syntax error: unexpected identifier, "
        "expected end of variable block (in line 2: 'Hello {{ First Name }},')"
    )


def test_a_failed_rendering_names_the_line():
    """What goes wrong for one recipient's variables says where."""
    compiled = Templates(lambda: 1687624642.5).compile("a\n{{ 1 / x }}", "content")
    with pytest.raises(TemplateProblem, match="in line 2"):
        compiled.render({"x": 0})


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in l %}{% for b in l %}x{% endfor %}{% endfor %}",
        "{{ 'x' * 1000000000 }}",
        "{% for a in l %}{{ big }}{% endfor %}",
        "{% set ns = namespace(x='x') %}{% for a in l %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ],
)
def test_a_template_that_runs_away_is_stopped(source):
    """Endless loops, doubling strings and recursion end in an error, not in a dead daemon."""
    with pytest.raises(TemplateProblem, match=r"fuel|recursion"):
        Templates(lambda: 1687624642.5).compile(source, "content").render({"l": list(range(2000)), "big": "x" * 100000})


def test_python_is_out_of_reach():
    """A template sees values, never attributes of Python objects."""
    compiled = Templates(lambda: 1687624642.5).compile("{{ x.__class__ }}|{{ d.items() | list }}", "content")
    assert compiled.render({"x": "s", "d": {"a": 1}}).startswith("|")


def test_the_cache_is_bounded(monkeypatch):
    """Old templates are forgotten; one that is used again is kept."""
    monkeypatch.setattr(template, "MAX_CACHED", 2)
    templates = Templates(lambda: 1687624642.5)
    for number in (1, 2, 1, 3):
        templates.compile(f"{{{{ x }}}} {number}", "f")
    templates.trim()
    assert len(templates) == 2
    assert templates.compile("{{ x }} 1", "f").render({"x": "a"}) == "a 1"


def test_later_variables_win():
    """Per-recipient substitutions override name and email, which override global ones."""
    assert variables_for({"a": 1, "b": 1}, {"b": 2}) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ now()|datetimeformat }}", "Jun 24 2023 16:37"),
        ("{{ now()|datetimeformat(format='short', tz='Europe/Vienna') }}", "2023-06-24 18:37"),
        ("{{ at|datetimeformat(format='full') }}", "Saturday, June 24 2023 16:37:22"),
        ("{{ at|datetimeformat(format='iso') }}", "2023-06-24T16:37:22+00:00"),
        ("{{ '2023-06-24T16:37:22+02:00'|datetimeformat(format='unix') }}", "1687617442"),
        ("{{ at|dateformat }} {{ at|dateformat(format='long') }}", "Jun 24 2023 June 24 2023"),
        ("{{ '2023-06-04'|dateformat(format='short') }}", "2023-06-04"),
        ("{{ now()|timeformat(format='full') }} {{ at|timeformat }}", "16:37:22.5 16:37"),
        ("{{ at|dateformat(format='[day] [month repr:long]') }}", "24 June"),
        ("{% set TIMEZONE = 'Asia/Tokyo' %}{% set TIME_FORMAT = 'long' %}{{ at|timeformat }}", "01:37:22"),
    ],
)
def test_dates(source, text):
    """KumoMTA's date filters, in UTC unless a zone is named."""
    assert Templates(lambda: 1687624642.5).compile(source, "content").render({"at": 1687624642}) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ 'x'|dateformat }}", "Invalid isoformat string: 'x'"),
        ("{{ 1|dateformat(tz='Mars/Olympus') }}", "unknown time zone 'Mars/Olympus'"),
        ("{{ l|dateformat }}", "neither a Unix timestamp nor ISO 8601 text"),
        ("{{ 1|dateformat(format='weird') }}", "unknown date format 'weird'; use short"),
        ("{{ 1|dateformat(format='[week]') }}", "unknown component .week. in a date format"),
        ("{{ 1e300|dateformat }}", "no Unix timestamp of this era"),
    ],
)
def test_dates_that_are_none(source, text):
    """What cannot be shown as a date is an error that says why."""
    with pytest.raises(TemplateProblem, match=text):
        Templates(lambda: 0.0).compile(source, "content").render({"l": []})
