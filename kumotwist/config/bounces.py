"""What kind of failure a reply tells of: rules for the field `bounce_classification` of log records.

Public: `BounceClassifierConfig`, `BounceRule`, `parse_rules`.
"""

from __future__ import annotations

import json
import tomllib

from attrs import frozen

from kumotwist.config.option import option, options
from kumotwist.core.errors import ConfigError


@frozen
class BounceRule:
    """A reply on one line that matches `pattern` (Rust's syntax) is called `label`."""

    label: str
    pattern: str


@options
class BounceClassifierConfig:
    """Which files say how failures are called."""

    files: tuple[str, ...] = option("TOML or JSON files of rules, the first that matches wins.")
    back_pressure: int = option(
        "Classifications under way.", default=131072, no_effect="a reply is classified while its record is made"
    )
    pool_size: int | None = option(
        "Threads that classify.", default=None, no_effect="a reply is classified while its record is made"
    )
    cache_size: int = option("Replies whose class is remembered.", default=1024, unit="replies")
    uncategorized_cache_size: int = option("Replies remembered as of no class.", default=1024, unit="replies")


def parse_rules(text: str, name: str) -> list[BounceRule]:
    """The rules of a file, in its order. Raises ConfigError with the name of the file."""
    try:
        data = json.loads(text) if name.endswith(".json") else tomllib.loads(text)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None
    rules = data.get("rules") if isinstance(data, dict) else None
    if not isinstance(rules, dict):
        raise ConfigError(f"{name}: there must be a table 'rules'")
    found = []
    for label, patterns in rules.items():
        if not isinstance(patterns, list) or not all(isinstance(one, str) for one in patterns):
            raise ConfigError(f"{name}: rules.{label} must be a list of regular expressions")
        found += [BounceRule(label, one) for one in patterns]
    return found
