"""custom_lua connections: the object that a constructor event returned, kept in its Lua runtime.

Public: `Connection`, an implementation of `core.interfaces.LuaConnection`.
"""

from __future__ import annotations

from collections.abc import Sequence

from kumotwist.core.errors import PolicyError
from kumotwist.core.message import Message
from kumotwist.lua.bridge import Bridge, Kept


class Connection:
    """One connection; it outlives a reload of the policy, with the code that made it."""

    __slots__ = ("_bridge", "_constructor", "_kept")

    def __init__(self, bridge: Bridge, constructor: str, kept: Kept) -> None:
        self._bridge = bridge
        self._constructor = constructor
        self._kept = kept

    async def send(self, messages: Sequence[Message], batched: bool) -> str:
        """The disposition, which is logged: without secrets. Raises Rejection if policy rejected, else PolicyError."""
        name = "send_batch" if batched else "send"
        argument: object = list(messages) if batched else messages[0]
        results = await self._bridge.call_method(self._kept, self._constructor, name, argument)
        result = results[0] if results else None
        if isinstance(result, str):
            return self._bridge.clean(result)
        if isinstance(result, (int, float)) and not isinstance(result, bool):
            return str(result)
        if isinstance(result, bytes):
            return self._bridge.clean(result.decode(errors="replace"))
        returned = "nothing" if result is None else "something else"
        raise PolicyError(f"{name} of '{self._constructor}' must return a disposition string, it returned {returned}")

    async def close(self) -> None:
        """Call `close` if the object has it."""
        await self._bridge.call_optional_method(self._kept, self._constructor, "close")
