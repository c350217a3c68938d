"""docs/translation.md says what is so."""

import re
from pathlib import Path

from kumotwist.config.translate import ChatTextOptions, Dialect, SmsTextOptions
from kumotwist.proto.mime.parts import Decomposed
from kumotwist.proto.translate.chat import as_chat
from kumotwist.proto.translate.sms import as_sms

PAGE = (Path(__file__).parents[3] / "docs" / "translation.md").read_text()


def test_the_examples_come_out_as_printed() -> None:
    """Each fenced text is what the method above it gives for the HTML at the top."""
    examples = PAGE.partition("<!-- examples -->")[2].partition("<!-- /examples -->")[0]
    html, sms, slack, telegram = re.findall(r"```(?:html)?\n(.*?)\n```", examples, re.DOTALL)
    parts = Decomposed((), html=html, subject="Parcel")
    assert as_sms(parts, SmsTextOptions()).text == sms
    printed: dict[Dialect, str] = {"slack": slack, "telegram": telegram}
    for dialect, text in printed.items():
        assert as_chat(parts, ChatTextOptions(dialect=dialect, subject=False)) == text
