"""Access control lists as policies write them: rules in Lua, maps in TOML.

Public: `parse_rules` (the argument of `kumo.aaa.make_access_control_list`) and
`parse_acl_map` (the file of `kumo.aaa.load_acl_map`). Errors are ConfigError
and name the resource and the rule.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Final

from kumotwist.config.acl import AccessControlList, AclRule, AllOf, AnyOf, Criterion, IdentityIs, MachineIs, Not
from kumotwist.core.errors import ConfigError

_IDENTITIES: Final = ("Any", "Authenticated", "Unauthenticated", "Group", "Individual")
_CRITERIA: Final = ("Identity", "Machine", "AllOf", "AnyOf", "Not")
#: Nesting of criteria: no rule that a person can follow goes deeper.
_MAX_DEPTH: Final = 16


def parse_rules(rules: object, where: str = "kumo.aaa.make_access_control_list") -> AccessControlList:
    """From a list of `{criteria, privilege, access = 'Allow' | 'Deny'}`."""
    parsed = []
    for number, rule in enumerate(_list(rules, where), 1):
        place = f"{where}: rule {number}"
        table = _table(rule, place)
        _known(table, ("criteria", "privilege", "access"), place)
        access = table.get("access")
        if access not in ("Allow", "Deny"):
            raise ConfigError(f"{place}: access must be 'Allow' or 'Deny', got {access!r}")
        privilege = _text(table.get("privilege"), f"{place}: privilege")
        parsed.append(AclRule(_criterion(table.get("criteria"), place), privilege, access == "Allow"))
    return AccessControlList(parsed)


def parse_acl_map(source: str, where: str = "kumo.aaa.load_acl_map") -> Mapping[str, AccessControlList]:
    """The lists by resource, from `[[acl."RESOURCE"]]` tables."""
    try:
        document = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not TOML: {error}") from None
    _known(document, ("acl",), where)
    resources = _table(document.get("acl", {}), where)
    return {
        resource: _toml_list(_list(rules, f"{where}: {resource}"), f"{where}: {resource}")
        for resource, rules in resources.items()
    }


def _toml_list(rules: Sequence[object], where: str) -> AccessControlList:
    parsed: list[AclRule] = []
    for number, rule in enumerate(rules, 1):
        place = f"{where}: rule {number}"
        table = _table(rule, place)
        _known(table, ("allow", "privileges", "identity", "criteria"), place)
        allow = table.get("allow")
        if not isinstance(allow, bool):
            raise ConfigError(f"{place}: allow must be true or false")
        if ("identity" in table) == ("criteria" in table):
            raise ConfigError(f"{place}: give either identity or criteria")
        criterion = _criterion(table["criteria"], place) if "criteria" in table else _identity(table["identity"], place)
        privileges = [_text(one, f"{place}: privileges") for one in _list(table.get("privileges"), place)]
        parsed.extend(AclRule(criterion, privilege, allow) for privilege in privileges)
    return AccessControlList(parsed)


def _criterion(value: object, where: str, depth: int = 0) -> Criterion:
    if depth > _MAX_DEPTH:
        raise ConfigError(f"{where}: criteria are nested deeper than {_MAX_DEPTH} levels")
    kind, inner = _single(value, _CRITERIA, where)
    match kind:
        case "Identity":
            return _identity(inner, where)
        case "Machine":
            return MachineIs(_text(inner, f"{where}: Machine"))
        case "Not":
            return Not(_criterion(inner, where, depth + 1))
    parts = tuple(_criterion(part, where, depth + 1) for part in _list(inner, where))
    return AllOf(parts) if kind == "AllOf" else AnyOf(parts)


def _identity(value: object, where: str) -> IdentityIs | MachineIs:
    """KumoMTA's documentation puts `Machine` here too, inside AllOf and AnyOf."""
    kind, inner = _single(value, (*_IDENTITIES, "Machine"), where)
    if kind == "Machine":
        return MachineIs(_text(inner, f"{where}: Machine"))
    if kind in ("Group", "Individual"):
        return IdentityIs(kind, _text(inner, f"{where}: {kind}"))  # type: ignore[arg-type]  # it is one of _IDENTITIES
    return IdentityIs(kind)  # type: ignore[arg-type]  # it is one of _IDENTITIES


def _single(value: object, known: Sequence[str], where: str) -> tuple[str, object]:
    table = value if isinstance(value, Mapping) else {}
    if len(table) != 1 or next(iter(table)) not in known:
        raise ConfigError(f"{where}: a criterion is a table with one of {', '.join(known)}")
    ((kind, inner),) = table.items()
    return kind, inner


def _known(table: Mapping[str, object], names: Sequence[str], where: str) -> None:
    for name in table:
        if name not in names:
            raise ConfigError(f"{where}: unknown entry {name!r}; known are {', '.join(names)}")


def _table(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: a table with named entries is needed")
    return value


def _list(value: object, where: str) -> Sequence[object]:
    if isinstance(value, Mapping) and not value:
        return []
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{where}: a list is needed")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{where} must be a string")
    return value
