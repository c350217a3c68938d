"""The operator's page names metrics, paths, options and log lines that the daemon has."""

import re
from pathlib import Path

import yaml

from kumotwist.admin import explain, message
from kumotwist.records.catalogue import CATALOGUE
from kumotwist.service.options import Options

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operating.md").read_text()
ALERTS = (ROOT / "docs/alerts.yml").read_text()
SOURCES = {path: path.read_text() for path in (ROOT / "kumotwist").rglob("*.py") if path.name != "catalogue.py"}


def test_every_metric_is_one_that_is_served():
    """Listed and, outside of the list, made by some part."""
    rows = re.findall(r"^\| (`[a-z_]+`.*?) \|", PAGE.split("## Watch")[1].split("## Logs")[0], re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`([a-z_]+)`", row)]
    assert len(names) > 15
    for name in names:
        assert name in CATALOGUE, name
        # Some names are put together where they are made.
        stem = re.sub(r"^(total_messages_).*|_by_(?:domain|tenant)$", r"\1", name)
        assert any(stem in text for text in SOURCES.values()), f"nothing makes {name}"


def test_every_alert_is_on_metrics_that_are_served():
    """A rule on a name that never comes stays silent; the page links the rules."""
    rules = [rule for group in yaml.safe_load(ALERTS)["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) > 10
    for rule in rules:
        words = set(re.findall(r"[a-z]+_[a-z_]+", re.sub(r"by \(.*?\)|\{.*?\}", "", rule["expr"])))
        names = {word.removesuffix("_bucket") for word in words - {"histogram_quantile"}}
        assert names <= set(CATALOGUE), names - set(CATALOGUE)
        assert rule["annotations"]["summary"]
    assert "(alerts.yml)" in PAGE


def test_every_path_is_served():
    """A pasted curl finds something."""
    paths = set(re.findall(r"/(?:api/[a-z/\-]+v1|metrics(?:\.json)?)", PAGE))
    assert {message.PATH, explain.PATH, "/metrics", "/metrics.json"} <= paths
    for path in paths:
        assert any(f'"{path}"' in text for text in SOURCES.values()), path


def test_every_option_of_the_command_line_is_there():
    """With the words that `--help` has."""
    known = {row[0] for row in [*Options.optParameters, *Options.optFlags]}
    for name in re.findall(r"--([a-z][a-z\-]+) [A-Z/w]|`--([a-z\-]+)`", PAGE):
        assert (name[0] or name[1]) in known, name


def test_every_log_line_is_one_that_we_write():
    """What an operator greps for."""
    for line in (
        "the policy was loaded anew",
        "the policy has changed but cannot be loaded; the old one stays",
        "messages taken up from the spool",
        "mail is refused: ",
        "mail is taken again",
        "a new one starts in",
        "TLS certificate not renewed",
    ):
        assert line.strip() in PAGE
        assert any(line in text for text in SOURCES.values()), line
