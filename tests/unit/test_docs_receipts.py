"""The page about receipts says what there is."""

import re
from pathlib import Path

import pytest
from support.lua import Bench, now

from kumotwist.config.receipts import ReceiptSources
from kumotwist.core.receipt import ReceiptClass, ReceiptState
from kumotwist.egress.protocols import BUILT_IN
from kumotwist.lua.validate import validate
from kumotwist.proto.receipts.schemes import SCHEMES
from kumotwist.records.receipts.handovers import SILENT

PAGE = Path(__file__).parents[2] / "docs" / "receipts.md"


def test_states_and_classes():
    """Every word that a record may have is explained."""
    page = PAGE.read_text()
    for word in [*ReceiptState, *ReceiptClass]:
        assert not word.value or f"`{word.value}`" in page


def test_channels_and_what_they_sign_with():
    """Every provider is in the table, with every option by which its signature is checked."""
    page = PAGE.read_text()
    for channel in ReceiptSources.__annotations__:
        assert f"`{channel}`" in page, channel
    for option in set(re.findall(r"signed_by: ClassVar.*= \((.*)\)", _source())):
        for name in re.findall(r'"(\w+)"', option):
            assert f"`{name}`" in page, name


@pytest.mark.parametrize("number", [0, 1])
def test_the_policies_work(number, tmp_path):
    """What is pasted from the page starts."""
    bench = Bench(tmp_path)
    source = re.findall(r"```lua\n(.*?)```", PAGE.read_text(), re.DOTALL)[number]
    preamble = "" if "require 'kumo'" in source else "local kumo = require 'kumo'\n"
    bench.write(preamble + source + "\nkumo.on('should_enqueue_log_record', function() return false end)")
    assert now(validate(bench.path, bench.services)).errors == []


def _source():
    return (Path(__file__).parents[2] / "kumotwist" / "config" / "receipts.py").read_text()


def test_every_way_out_either_reports_or_is_known_not_to():
    """A new channel is not forgotten: its receipts are taken in, or the ledger leaves its messages alone."""
    local = {"smtp", "lmtp", "custom_lua", "maildir_path", "maildir", "null"}
    assert set(BUILT_IN) - local <= set(SCHEMES) | {"smpp"} | SILENT
    assert not (set(SCHEMES) | {"smpp"}) & SILENT
