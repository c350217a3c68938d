"""How values cross between Python and Lua: as scalars, markers and flat streams of tokens.

Tables never cross as lupa's own table objects: one that is wrapped while a
coroutine runs keeps a pointer to that coroutine beyond its life. Instead Lua
sends `LIST n ...` and `DICT n ...` (values.lua), and so do we. The table of
what becomes what stands in `lua.binding`.

This is also where host functions are wrapped: nothing that a host function
does, raising included, gives Lua anything but scalars, markers and facades.

Public: `Crossing`, `HostClass`, `json_value`.
"""

from __future__ import annotations

import inspect
import operator
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from types import CoroutineType
from typing import Final

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kumotwist.core.errors import KumotwistError, PolicyError, Rejection
from kumotwist.core.json import Json
from kumotwist.lua.binding import BINARY_ATTRIBUTE, Function, LuaFunction, Opaque, Placed, facade_of
from kumotwist.lua.tokens import BUILD, CLASS, DICT, FACADE, FAIL, FUNCTION, LIST, PLACE, STASHED, WAIT, Marker, Reader

log: Final = Logger()

#: Tokens of one value towards Lua: under half of LUAI_MAXSTACK, lua 5.4 luaconf.h.
MAX_TOKENS: Final = 400_000
_INT64: Final = 1 << 63


@frozen
class HostClass:
    """What Lua sees of a class: each method, field and metamethod with the function that answers it.

    Each function gets the Python object first.
    """

    type_name: str
    methods: Mapping[str, Function]
    fields: Mapping[str, Function]
    meta: Mapping[str, Function]

    @classmethod
    def of(cls, kind: type) -> HostClass | None:
        """That of a class decorated with `binding.facade`, None for every other class."""
        spec = facade_of(kind)
        if spec is None:
            return None
        return cls(
            spec.type_name,
            {name: getattr(kind, name) for name in spec.methods},
            {name: operator.attrgetter(name) for name in spec.fields},
            {name: getattr(kind, method) for name, method in spec.meta.items()},
        )


class Crossing:
    """The border of one Lua runtime: encodes, decodes, wraps host functions, numbers operations."""

    __slots__ = (
        "_ample",
        "_class_keys",
        "_classes",
        "_function",
        "_memory",
        "_next_id",
        "_pending",
        "_stash",
        "_used",
        "names",
    )

    def __init__(
        self,
        classes: Mapping[type, HostClass],
        function: Callable[[int, str], LuaFunction],
        memory: Callable[[int], bool],
        used: Callable[[], int],
        ample: int,
    ) -> None:
        """`classes`: facades of classes that cannot be decorated. `function` makes the object for a Lua function
        from its number and the place where it begins.

        `memory(octets)` tells whether Lua has room for so much more; nobody
        need ask while `used()` octets are below `ample`.
        """
        self._classes = classes
        self._function = function
        self._memory = memory
        self._used = used
        self._ample = ample
        self._class_keys: dict[object, int] = {}
        #: What a policy can call, for hints: methods, and functions with the table that they are in, by the bare name.
        self.names: dict[str, str] = {}
        self._pending: dict[int, Awaitable[object]] = {}
        self._next_id = 0
        self._stash: list[object] = []

    # -- operations ---------------------------------------------------------------------------------

    def take(self, operation: int) -> Awaitable[object]:
        """The operation that Lua waits for."""
        return self._pending.pop(operation)

    def abandon(self, operation: object) -> None:
        """Nobody will wait for it: it is never started."""
        if isinstance(operation, int):
            waiting = self._pending.pop(operation, None)
            if isinstance(waiting, CoroutineType):
                waiting.close()
            elif isinstance(waiting, Deferred):
                waiting.addErrback(lambda _: None)
                waiting.cancel()

    def stash(self, *tokens: object) -> None:
        """Keep tokens of a call that has too many of them to come at once."""
        self._stash.extend(tokens)

    def answer(self, result: object) -> tuple[object, ...]:
        """The tokens for the result of an operation."""
        tokens = self.results(result)
        return tokens if isinstance(tokens, tuple) else (tokens,)

    def refusal(self, error: BaseException, label: str = "an operation") -> tuple[object, ...]:
        """The tokens that make Lua raise; a defect of ours is logged."""
        if isinstance(error, Rejection):
            return FAIL, 1, error.code, error.text.encode(), error.disconnect, error.follow_with_421
        if isinstance(error, (KumotwistError, ValueError, OSError)):
            return FAIL, 2 if isinstance(error, PolicyError) else 0, str(error).encode(errors="replace")
        if isinstance(error, CancelledError):
            return FAIL, 0, f"{label} was cancelled".encode()
        log.failure("internal error in {label}", Failure(error), label=label)
        return FAIL, 0, f"internal error in {label}: {type(error).__name__}".encode()

    def _suspend(self, result: Awaitable[object]) -> tuple[object, ...]:
        self._next_id += 1
        self._pending[self._next_id] = result
        return WAIT, self._next_id

    # -- host functions -----------------------------------------------------------------------------

    def host(self, function: Function, label: str) -> Callable[..., object]:
        """The form of `function` that Lua may call; it never raises and returns only what may cross.

        Arguments too many are dropped, as Lua does: `msg:set_meta('x', s:gsub('a', 'b'))` passes one.
        """
        decode = self.decode_octets if getattr(function, BINARY_ATTRIBUTE, False) else self.decode
        memory, used, ample = self._memory, self._used, self._ample

        def call(*tokens: object) -> object:
            values: list[object] = []
            try:
                if used() > ample and not memory(0):
                    return FAIL, 0, b"not enough memory"
                values = decode(tokens)
                result = function(*values)
                if result is None or result is True or result is False:
                    return result
                if isinstance(result, str):
                    return result.encode()
                if isinstance(result, (CoroutineType, Deferred)):
                    return self._suspend(result)
                return self.results(result)
            except TypeError as error:
                most = _most(function)
                if len(values) > most:
                    return call_with(values[:most])
                usage = _usage(function, label, values)
                return (FAIL, 0, usage.encode()) if usage else self.refusal(error, label)
            except BaseException as error:
                return self.refusal(error, label)

        def call_with(values: list[object]) -> object:
            try:
                result = function(*values)
                if isinstance(result, (CoroutineType, Deferred)):
                    return self._suspend(result)
                return self.results(result)
            except BaseException as error:
                return self.refusal(error, label)

        return call

    def results(self, value: object) -> object:
        """The tokens for what a host function returned: a scalar, or a tuple that begins with a marker."""
        if isinstance(value, bytes):
            if not self._memory(len(value)):
                return FAIL, 0, b"not enough memory"
            return bytes(value)
        if isinstance(value, tuple):
            return self.encode(*value)
        if isinstance(value, Placed):
            return PLACE, self.host(value.then, "place")
        return self.encode(value)

    # -- towards Python -----------------------------------------------------------------------------

    def decode(self, tokens: Sequence[object]) -> list[object]:
        """The values that `tokens` stand for; strings become str where they are UTF-8."""
        values: list[object] = []
        for token in tokens:
            if isinstance(token, bytes):
                try:
                    values.append(token.decode())
                except UnicodeDecodeError:
                    values.append(token)
            elif isinstance(token, Marker):
                return self._stream(tokens, binary=False)
            else:
                values.append(token)
        return values

    def decode_octets(self, tokens: Sequence[object]) -> list[object]:
        """The same, but strings stay bytes; keys of tables are str all the same."""
        if any(type(token) is Marker for token in tokens):
            return self._stream(tokens, binary=True)
        return list(tokens)

    def _stream(self, tokens: Sequence[object], binary: bool) -> list[object]:
        if tokens[-1] is STASHED:
            tokens = [*tokens[:-1], *self._stash]
            self._stash.clear()
        reader = Reader(tokens, binary, self._function)
        values: list[object] = []
        while reader.has_more:
            values.append(reader.value())
        return values

    # -- towards Lua --------------------------------------------------------------------------------

    def encode(self, *values: object) -> tuple[object, ...]:
        """`(BUILD, count, ...)` for values of any kind that may cross. Raises TypeError, ValueError."""
        known = len(self._class_keys)
        out: list[object] = [BUILD, len(values)]
        try:
            for value in values:
                self._put(value, out)
            if len(out) > MAX_TOKENS:
                raise ValueError(f"a value with more than {MAX_TOKENS // 2} entries cannot be given to Lua")
        except BaseException:
            for key in list(self._class_keys)[known:]:
                del self._class_keys[key]
            raise
        return tuple(out)

    def _put(self, value: object, out: list[object]) -> None:
        if value is None or isinstance(value, (bool, float)):
            out.append(value)
        elif type(value) is str:
            out.append(value.encode())
        elif isinstance(value, bytes):
            out.append(bytes(value))
        elif isinstance(value, int):
            out.append(int(value) if -_INT64 <= value < _INT64 else float(value))
        elif isinstance(value, Mapping):
            self._put_mapping(value, out)
        elif isinstance(value, (list, tuple)):
            out += (LIST, len(value))
            for item in value:
                self._put(item, out)
        else:
            self._put_object(value, out)

    def _put_mapping(self, value: Mapping[object, object], out: list[object]) -> None:
        entries = [(key, item) for key, item in value.items() if item is not None]
        out += (DICT, len(entries))
        for key, item in entries:
            if not isinstance(key, (str, int, bytes)):
                raise TypeError(f"a key of type {type(key).__name__} cannot be given to Lua")
            self._put(key, out)
            self._put(item, out)

    def _put_object(self, value: object, out: list[object]) -> None:
        key = self._class_keys.get(value.type_name if isinstance(value, Opaque) else type(value))
        if key is None:
            host_class = self._host_class(value)
            if host_class is not None:
                key = self._define(value, host_class, out)
            elif isinstance(value, str):
                out.append(str(value).encode())
                return
            elif callable(value):
                out += (FUNCTION, self.host(value, getattr(value, "__name__", "function")))
                return
            else:
                raise TypeError(f"a value of type {type(value).__name__} cannot be given to Lua")
        out += (FACADE, key, value)

    def _host_class(self, value: object) -> HostClass | None:
        if isinstance(value, Opaque):
            return HostClass(value.type_name, {}, {}, {})
        return self._classes.get(type(value)) or HostClass.of(type(value))

    def _define(self, value: object, host_class: HostClass, out: list[object]) -> int:
        key = len(self._class_keys) + 1
        self._class_keys[value.type_name if isinstance(value, Opaque) else type(value)] = key
        out += (CLASS, *self._definition(key, host_class))
        return key

    def functions(self, functions: Mapping[str, Function], prefix: str) -> tuple[object, ...]:
        """One table of host functions, as `count, stream`; `prefix` goes before their names in errors."""
        out: list[object] = [1, DICT, len(functions)]
        for name, function in functions.items():
            out += (name.encode(), FUNCTION, self.host(function, prefix + name))
        return tuple(out)

    def define(self, kind: type) -> tuple[int, tuple[object, ...]]:
        """Define a class of `classes` ahead of its first object: its key and the tokens for `values.define`."""
        key = len(self._class_keys) + 1
        self._class_keys[kind] = key
        return key, self._definition(key, self._classes[kind])

    def _definition(self, key: int, host_class: HostClass) -> tuple[object, ...]:
        name = host_class.type_name
        for method in host_class.methods:
            self.names.setdefault(method, method)
        out: list[object] = [key, name.encode()]
        for members, separator in ((host_class.methods, ":"), (host_class.fields, "."), (host_class.meta, ".")):
            out.append(len(members))
            for member, function in members.items():
                out += (member.encode(), self.host(function, f"{name}{separator}{member}"))
        return tuple(out)


@lru_cache(maxsize=1024)
def _most(function: Function) -> int:
    """How many arguments a host function takes at most."""
    try:
        kinds = [one.kind for one in inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):
        return sys.maxsize
    return sys.maxsize if inspect.Parameter.VAR_POSITIONAL in kinds else len(kinds)


def _usage(function: Function, label: str, values: Sequence[object]) -> str | None:
    """What the arguments should have been, when it is their number that is wrong."""
    try:
        signature = inspect.signature(function)
        signature.bind(*values)
    except TypeError:
        names = [name for name in signature.parameters if name != "self"]
        return f"wrong number of arguments: {label}({', '.join(names)})"
    except ValueError:
        pass
    return None


def json_value(value: object, what: str) -> Json:
    """`value` if it is JSON. Raises ValueError naming `what` for functions, objects and binary strings."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, list):
        return [json_value(item, what) for item in value]
    if isinstance(value, dict):
        return {str(key): json_value(item, what) for key, item in value.items()}
    if isinstance(value, bytes):
        raise ValueError(f"{what}: a string that is not UTF-8 cannot be kept as JSON")
    spec = facade_of(type(value))
    raise ValueError(f"{what}: a {spec.type_name if spec else 'function or object'} cannot be kept as JSON")
