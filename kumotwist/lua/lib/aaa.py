"""`kumo.aaa`: who may do what on the HTTP listeners, and the log of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from kumotwist.config.acl import AccessControlList
from kumotwist.config.aclform import parse_acl_map, parse_rules
from kumotwist.config.records import AcctLogConfig
from kumotwist.config.structure import key_source, structure
from kumotwist.core.errors import ConfigError
from kumotwist.core.interfaces import KeyLoader
from kumotwist.lua.binding import Function, Opaque, facade, text

#: Type name of the value that policy gets for a list, and gives back from `get_acl_definition`.
ACL_TYPE: Final = "access control list"


class AaaLibrary:
    """The functions of `kumo.aaa`; `declare` takes the settings of the accounting log."""

    namespace = "aaa"

    def __init__(self, keys: KeyLoader, declare: Callable[[AcctLogConfig], None]) -> None:
        self._keys = keys
        self._declare = declare

    def functions(self) -> Mapping[str, Function]:
        """By their Lua name."""
        return {
            "configure_acct_log": self.configure_acct_log,
            "load_acl_map": self.load_acl_map,
            "make_access_control_list": self.make_access_control_list,
        }

    def configure_acct_log(self, params: object) -> None:
        """Log who proved to be whom and who was allowed what, into segments of their own; once, in `init`."""
        self._declare(structure(AcctLogConfig, params, "kumo.aaa.configure_acct_log"))

    async def load_acl_map(self, source: object) -> AclMap:
        """An ACL map from a TOML file, or from any other key source."""
        data = await self._keys.load(key_source(source, "kumo.aaa.load_acl_map"))
        try:
            return AclMap(parse_acl_map(data.decode()))
        except UnicodeDecodeError:
            raise ConfigError("kumo.aaa.load_acl_map: the map is not UTF-8") from None

    def make_access_control_list(self, rules: object) -> Opaque:
        """An access control list from a list of rules; `get_acl_definition` returns it."""
        return Opaque(ACL_TYPE, parse_rules(rules))


@facade("acl map", methods=("get",))
class AclMap:
    """Access control lists by resource."""

    def __init__(self, lists: Mapping[str, AccessControlList]) -> None:
        self._lists = lists

    def get(self, resource: object) -> Opaque | None:
        """The list of exactly this resource; nil when the map has none."""
        found = self._lists.get(text(resource, "resource"))
        return Opaque(ACL_TYPE, found) if found is not None else None
