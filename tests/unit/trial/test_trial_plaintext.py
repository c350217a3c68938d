"""What comes from messages cannot take over the operator's terminal, nor forge a line."""

from kumotwist.admin.explanation import Handler, MessageShown, Told
from kumotwist.trial.explain import as_text
from kumotwist.trial.plaintext import for_people


def test_controls_do_not_reach_the_terminal():
    """Escape sequences, C1, unpaired surrogates and marks of direction become question marks; words stay."""
    assert for_people(["a \x1b]0;pwn\x07 b\x9b2J\udcff\u202ec", "größer\t…"]) == "a ?]0;pwn? b?2J??c\ngrößer\t…\n"


def test_a_line_cannot_be_forged():
    """Further lines of a text are indented, so none looks like one of ours."""
    shown = for_people(["               header Subject set to x\r\nchannel      null"])
    assert [line[:12] for line in shown.splitlines()] == [" " * 12, " " * 12]


def test_long_changes_are_cut():
    """With how long they are."""
    handler = Handler("e", "p.lua:1", [f"header X set to {'x' * 5000}"])
    shown = as_text(Told([handler], MessageShown("", ["a@b.example"], {}, 3)))
    assert "xxx… (5,016 characters)" in shown
    assert len(shown) < 600
