"""What kind of failure a record tells of."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.lua import Bench, now
from twisted.internet.task import Clock

from kumotwist.config.bounces import BounceRule, parse_rules
from kumotwist.core.errors import ConfigError, PolicyError
from kumotwist.core.records import Record, RecordType
from kumotwist.core.response import Response
from kumotwist.lua.corelib import KUMOMTA_RULES
from kumotwist.lua.policy import Policy
from kumotwist.records.classify import Classifier
from kumotwist.records.dispositions import build


def classifier(*rules: tuple[str, str], known: int = 10, unknown: int = 10) -> Classifier:
    return Classifier([BounceRule(label, pattern) for label, pattern in rules], known, unknown)


def record(kind: RecordType, code: int, text: str) -> Record:
    return Record(
        type=kind,
        event_time=0.0,
        message=None,
        sender="a@example.com",
        recipients=("b@example.org",),
        queue="example.org",
        site="",
        response=Response.parse(code, text),
    )


def test_the_first_rule_that_matches_wins() -> None:
    """Rules see the reply on one line, code first, in the order of their files."""
    found = classifier(("Quota", r"^552 5\.2\.2 "), ("Mine", "quota"), ("Late", "full"))
    assert found.of_reply("552 5.2.2 quota") == "Quota"
    assert found.of_reply("452 over quota, full") == "Mine"
    assert found.of_reply("550 no") == "Uncategorized"


@pytest.mark.parametrize(
    ("kind", "label"),
    [(RecordType.BOUNCE, "Mine"), (RecordType.TRANSIENT_FAILURE, "Mine"), (RecordType.DELIVERY, "Uncategorized")],
)
def test_only_failures_have_a_class(kind: RecordType, label: str) -> None:
    """A Delivery whose reply looks like a rule is none."""
    assert build(record(kind, 550, "5.1.1 no"), "node", classifier(("Mine", "no"))).bounce_classification == label
    assert build(record(kind, 550, "5.1.1 no"), "node").bounce_classification == "Uncategorized"


def test_memory_is_bounded_and_unknown_replies_push_out_no_known_ones() -> None:
    """Replies with ids in them are all different."""
    found = classifier(("Mine", "^550"), known=2, unknown=3)
    for number in range(100):
        found.of_reply(f"550 {number}")
        found.of_reply(f"450 {number}")
    assert (len(found._known), len(found._unknown)) == (2, 3)
    assert found.of_reply("550 1") == "Mine"


def test_a_rule_that_never_ends_is_passed_over() -> None:
    """One bad pattern does not hold up all mail."""
    found = classifier(("Bad", r"^(a+)+$"), ("Good", "b$"))
    assert found.of_reply("a" * 4000 + "b") == "Good"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[rules]\nA = 'x'\n", "x.toml: rules.A must be a list of regular expressions"),
        ("A = ['x']\n", "x.toml: there must be a table 'rules'"),
        ("[rules\n", "x.toml: "),
    ],
)
def test_files_that_hold_no_rules(text: str, message: str) -> None:
    """The error names file and rule."""
    with pytest.raises(ConfigError, match=message):
        parse_rules(text, "x.toml")


def configured(directory: Path, *files: str) -> Policy:
    names = ", ".join(map(repr, files))
    policy = Bench(directory, clock=Clock()).policy(
        f"kumo.on('init', function() kumo.configure_bounce_classifier {{ files = {{ {names} }} }} end)"
    )
    now(policy.init())
    return policy


def test_a_policy_names_the_files(tmp_path: Path) -> None:
    """TOML and JSON, patterns in Rust's syntax; an earlier file comes first."""
    (tmp_path / "a.toml").write_text("[rules]\nMine = ['^550 \\\\x{35}']\n".replace("'", '"'))
    (tmp_path / "b.json").write_text('{"rules": {"Other": ["^550"], "Third": ["^4"]}}')
    classify = configured(tmp_path, str(tmp_path / "a.toml"), str(tmp_path / "b.json")).declarations.classify
    replies = [(550, "5.1.1 x"), (550, "x"), (421, "x"), (599, "x")]
    found = [classify(record(RecordType.BOUNCE, code, text)) for code, text in replies]
    assert found == ["Mine", "Other", "Third", "Uncategorized"]


def test_mistakes_stop_the_start(tmp_path: Path) -> None:
    """A rule that is no regular expression, and a file that is not there."""
    (tmp_path / "a.toml").write_text('[rules]\nMine = ["("]\n')
    with pytest.raises(PolicyError, match=r"policy\.lua:1: .*bounce rule for Mine: '\('"):
        configured(tmp_path, str(tmp_path / "a.toml"))
    with pytest.raises(PolicyError, match="nowhere"):
        configured(tmp_path, "/nowhere/rules.toml")


@pytest.mark.parametrize(
    ("line", "label"),
    [
        ("550 5.1.1 no such user", "InvalidRecipient"),
        ("550 5.1.10 null MX", "BadDomain"),
        ("525 5.7.13 account disabled", "InactiveMailbox"),
        ("550 5.1.8 bad sender", "InvalidSender"),
        ("452 4.2.2 mailbox full", "QuotaIssues"),
        ("552 5.3.4 too big", "QuotaIssues"),
        ("550 5.7.1 relaying denied", "RelayDenied"),
        ("554 5.7.1 we do not like you", "PolicyRelated"),
        ("550 5.7.26 DMARC", "AuthenticationFailed"),
        ("550 5.7.20 no passing DKIM signature", "AuthenticationFailed"),
        ("551 5.4.7 Next delivery time would be 2 days after creation", "MessageExpired"),
        ("451 4.4.1 connection refused", "NoAnswerFromHost"),
        ("503 5.5.1 bad sequence", "ProtocolErrors"),
        ("554 5.6.0 malformed", "ContentRelated"),
        ("550 go away", "Uncategorized"),
    ],
)
def test_the_registry(tmp_path: Path, line: str, label: str) -> None:
    """KumoMTA's file by its usual name works where KumoMTA is not installed."""
    classify = configured(tmp_path, KUMOMTA_RULES).declarations.classify
    assert isinstance(classify, Classifier)
    assert classify.of_reply(line) == label
