"""Phone numbers: what people write, as E.164.

Whoever takes a number in (HTTP, a policy, a channel's options) brings it into
this one form, so that one person is one recipient everywhere.

Public: `DOMAIN`, `e164`, `number_of`, `calling_code`, `region`, `carrier`, `is_region`. What can go wrong: ValueError,
saying why it is no number that could be dialled.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from types import ModuleType
from typing import Final

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat, ValidationResult

#: What stands behind the @ of a number in an envelope.
DOMAIN: Final = "sms"
#: Characters of a number as written. Ours: E.164 s6.2.1 has 15 digits; the rest is for separators.
MAX_WRITTEN: Final = 64
#: The library looks for a number anywhere in a text; we want nothing else in it.
_WRITTEN: Final = re.compile(r"[ \u00a0]*\+?[0-9 \u00a0().,/\u2010-\u2015\-]*[0-9][ \u00a0)]*\Z")
_WHY: Final = {
    ValidationResult.TOO_SHORT: "it is too short",
    ValidationResult.TOO_LONG: "it is too long",
    ValidationResult.INVALID_LENGTH: "no number of that country has so many digits",
    ValidationResult.INVALID_COUNTRY_CODE: "there is no such country code",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "the area code is missing",
}


def is_region(region: str) -> bool:
    """Whether `region` is a country that has numbers: two capital letters of ISO 3166-1."""
    return region in phonenumbers.SUPPORTED_REGIONS


@lru_cache(maxsize=4096)
def e164(written: str, region: str | None = None) -> str:
    """`+`, country code and number, digits only.

    A number without `+` is one of `region` (`US`, `DE`), as dialled there. It
    must be of a length that its country uses; whether somebody has it is not
    asked, since numbering plans grow. Raises ValueError.
    """
    if len(written) > MAX_WRITTEN or not _WRITTEN.match(written):
        raise ValueError(f"{written[:MAX_WRITTEN]!r} is not a phone number")
    if region is None and not written.lstrip(" \u00a0").startswith("+"):
        raise ValueError(f"{written!r} does not begin with + and a country code, and there is no default region")
    try:
        number = phonenumbers.parse(written, region)
    except NumberParseException as error:
        raise ValueError(f"{written!r} is not a phone number: {_reason(error)}") from None
    verdict = phonenumbers.is_possible_number_with_reason(number)
    if verdict != ValidationResult.IS_POSSIBLE:
        raise ValueError(f"{written!r} is not a phone number: {_WHY.get(verdict, 'it cannot be dialled')}")
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)


def calling_code(number: str) -> str:
    """`+` and the country code of a number in E.164. Raises ValueError."""
    try:
        return f"+{phonenumbers.parse(number).country_code}"
    except NumberParseException as error:
        raise ValueError(f"{number!r} is not a phone number: {_reason(error)}") from None


def number_of(address: str) -> str:
    """The number in E.164 in an address like `+4917012345678@sms` or without `@`; "" for one that has none."""
    try:
        return e164(address.partition("@")[0])
    except ValueError:
        return ""


@lru_cache(maxsize=4096)
def region(number: str) -> str:
    """The country of a number in E.164, as ISO 3166-1 has it.

    A number that nobody is known to have counts for the largest country of its code (`US` for +1); `001` stands for
    numbers of no country, "" for a code that there is not.
    """
    try:
        parsed = phonenumbers.parse(number)
    except NumberParseException:
        return ""
    code = parsed.country_code or 0
    found = phonenumbers.region_code_for_number(parsed) or phonenumbers.region_code_for_country_code(code)
    return "" if found == "ZZ" else str(found)


@lru_cache(maxsize=4096)
def carrier(number: str) -> str:
    """Country and carrier that the number's block was given to, as `DE T-Mobile`; the country alone if it is not known.

    Who took the number along to another carrier cannot be seen by its digits, and some countries publish no blocks.
    """
    try:
        name = _carriers().name_for_number(phonenumbers.parse(number), "en")
    except NumberParseException:
        return ""
    return f"{region(number)} {name}".rstrip()


@cache
def _carriers() -> ModuleType:
    """Loaded when first asked for: the table takes 11 MB."""
    from phonenumbers import carrier as carriers

    return carriers


def _reason(error: NumberParseException) -> str:
    """What the library says, without its number and as part of a sentence."""
    text = str(error).partition(") ")[2].rstrip(".")
    return text[:1].lower() + text[1:]
