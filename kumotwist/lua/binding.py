r'''How Python offers functions and objects to Lua: the interface for library authors.

A library is a class with a `namespace` and `functions()`. What it hands out
crosses into Lua only by value or as a facade: a Lua table with a literal white
list of methods. Lua never holds a Python object, and an exception never
crosses raw.

A complete library, `lua/lib/greet.py`:

    @facade("greeter", methods=("greet", "wait"), fields=("name",), meta={"__tostring": "__str__", "__len": "size"})
    class Greeter:
        def __init__(self, clock: IReactorTime, name: str) -> None: ...

        def greet(self, whom: object = None) -> str:
            """Say hello."""
            return f"Hello {text(whom, 'whom')}, I am {self.name}"

        async def wait(self, seconds: object) -> "Greeter":
            """Pause the handler; other handlers go on."""
            await deferLater(self._clock, number(seconds, "seconds"))
            return self  # the same facade comes back, so calls chain

    class GreetLibrary:
        namespace = "greet"  # kumo.greet; "" is kumo itself, "api.inject" is kumo.api.inject

        def functions(self) -> Mapping[str, Function]:
            return {"greeter": self.greeter, "split": self.split, "sha": self.sha}

        def greeter(self, name: object) -> Greeter:
            return Greeter(self._clock, text(name, "name"))

        def split(self, line: object) -> tuple[object, ...]:
            return tuple(text(line, "line").partition(" ")[::2])  # a tuple: several results

        @binary
        def sha(self, data: object) -> str:
            return sha256(octets(data, "data")).hexdigest()  # strings came as bytes

In Lua: `local g = kumo.greet.greeter 'Ann'; print(g.name, #g, tostring(g)); g:wait(0.5):greet 'Bob'`.

Values into Python (convert.from_lua)
    nil → None; booleans, integers, floats as they are; string → str when it is
    UTF-8, else bytes (with `@binary` always bytes); facade → the Python object
    it stands for; function → `LuaFunction`; table → list when its keys are
    1..n, else dict with str keys ({} is an empty dict: `sequence()` takes it
    for an empty list). Coroutines and foreign userdata are refused.
Values into Lua (convert.to_lua)
    None → nil; bool, int, float; str and bytes → string; list → table;
    Mapping → table (None entries are left out); tuple → several results;
    an object of a `@facade` class → its facade; `Function`s (any plain
    callable) → Lua function; `Opaque` → an object without methods; `Placed` →
    what its function returns when it is told where the caller stands.
Errors
    ValueError, ConfigError and every other KumotwistError, OSError → a Lua
    error with `str(exception)`, prefixed with the caller's file:line.
    `Rejection` → what kumo.reject raises. Anything else is a defect of ours:
    it is logged with its traceback and Lua sees "internal error in <name>".
Waiting
    An `async def` suspends the calling handler only. One that never really
    suspends costs no more than a plain function. It may be cancelled.

Public: `Function`, `Library`, `LuaFunction`, `facade`, `Facade`, `binary`,
`Opaque`, `Placed`, and the argument checks `text`, `octets`, `number`, `integer`,
`duration`, `flag`, `mapping`, `sequence`, `callback`.
'''

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias, TypeVar

from attrs import field, frozen

from kumotwist.core.units import parse_duration

T = TypeVar("T")
C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., object])

#: A plain or `async def` function that Lua may call with positional arguments.
Function: TypeAlias = Callable[..., object]

#: Attribute under which `facade` leaves its `Facade` on a class.
FACADE_ATTRIBUTE: Final = "__lua_facade__"
#: Attribute under which `binary` marks a function.
BINARY_ATTRIBUTE: Final = "__lua_binary__"

_ARITHMETIC: Final = ("add", "sub", "mul", "div", "unm")
#: Metamethods that a facade may have; the value in `meta` names the Python method.
METAMETHODS: Final = frozenset(
    f"__{name}"
    for name in ("index", "newindex", "len", "pairs", "tostring", "call", "concat", "eq", "lt", "le", *_ARITHMETIC)
)


class Library(Protocol):
    """A set of functions under one namespace. One instance serves every epoch of the policy."""

    @property
    def namespace(self) -> str:
        """Dotted path below `kumo`; "" for `kumo` itself; `:name` for a module of its own, which `require` finds."""
        ...

    def functions(self) -> Mapping[str, Function]:
        """The functions by their Lua name. Asked once per loaded policy."""
        ...


def prefix_of(namespace: str) -> str:
    """What stands before the names of a library's functions: `kumo.`, `kumo.fs.`, `sqlite.`."""
    if namespace.startswith(":"):
        return f"{namespace[1:]}."
    return f"kumo.{namespace}." if namespace else "kumo."


class LuaFunction(Protocol):
    """A Lua function that was passed as an argument. It keeps its Lua runtime alive."""

    async def __call__(self, *arguments: object) -> tuple[object, ...]:
        """Run it as a handler of its own; all its results, converted.

        Raises Rejection for kumo.reject and PolicyError for every other error.
        """
        ...


@frozen
class Facade:
    """What Lua sees of a class: its type name, methods, fields and metamethods."""

    type_name: str
    methods: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(factory=dict)


@frozen
class Opaque:
    """A value that Lua may hold and hand back, and nothing else: `Opaque("throttle spec", spec)`."""

    type_name: str
    value: object = field(repr=False)


@frozen
class Placed:
    """What a plain host function returns that has to know where the policy called it.

    `then` is given `file:line: `, or "" where nobody can tell, and returns the result.
    """

    then: Callable[[str], object]


def facade(
    type_name: str,
    *,
    methods: Sequence[str] = (),
    fields: Sequence[str] = (),
    meta: Mapping[str, str] | None = None,
) -> Callable[[C], C]:
    """Class decorator: instances may be given to Lua.

    `type_name` appears in errors and in the default `tostring`. `methods` are
    called as `object:method(...)`, `fields` are attributes read as
    `object.field`. `meta` maps a metamethod to the name of the Python method
    that answers it; operators get both operands' Python values, the instance
    first for all but reversed operators; `__pairs` returns an iterable of
    (key, value); `__index` is asked for keys that are neither method nor
    field; `__len`, `__tostring` and `__pairs` must not be async. For
    `__newindex` the method gets key and value.
    """
    unknown = set(meta or ()) - METAMETHODS
    if unknown:
        raise ValueError(f"a facade cannot have {sorted(unknown)}")
    spec = Facade(type_name, tuple(methods), tuple(fields), dict(meta or {}))

    def decorate(cls: C) -> C:
        for name in (*spec.methods, *spec.meta.values()):
            if not callable(getattr(cls, name, None)):
                raise TypeError(f"{cls.__name__} has no method {name!r} to give to Lua")
        setattr(cls, FACADE_ATTRIBUTE, spec)
        return cls

    return decorate


def facade_of(cls: type) -> Facade | None:
    """The facade of a class, or None when its instances must not reach Lua."""
    spec = getattr(cls, FACADE_ATTRIBUTE, None)
    return spec if isinstance(spec, Facade) else None


def binary(function: F) -> F:
    """Mark a function or method: its string arguments, nested ones too, always arrive as bytes."""
    setattr(function, BINARY_ATTRIBUTE, True)
    return function


# -- argument checks: each raises ValueError that names the argument, what came and what was meant --------------


def _describe(value: object) -> str:
    kinds = {bool: "a boolean", int: "a number", float: "a number", str: "a string", bytes: "a binary string"}
    if value is None:
        return "nil"
    if isinstance(value, (list, dict)):
        return "a table"
    spec = facade_of(type(value))
    return spec.type_name if spec else kinds.get(type(value), "a function" if callable(value) else "something else")


def _wrong(value: object, what: str, expected: str) -> ValueError:
    return ValueError(f"{what} must be {expected}, got {_describe(value)}")


def text(value: object, what: str) -> str:
    """A str; numbers are taken as Lua takes them for strings."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise ValueError(f"{what} must be UTF-8 text") from None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise _wrong(value, what, "a string")


def octets(value: object, what: str) -> bytes:
    """The bytes of a string of any encoding."""
    if isinstance(value, bytes):
        return value
    return text(value, what).encode()


#: Characters of a text that may be a number. Lua's own bound (L_MAXLENNUM).
_MAX_NUMERAL: Final = 200
#: What Lua takes for a decimal number.
_NUMERAL: Final = re.compile(r"\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\s*", re.ASCII)


def number(value: object, what: str) -> float:
    """A finite number; texts such as '550' are taken as Lua takes them for numbers."""
    if isinstance(value, (str, bytes)) and len(value) <= _MAX_NUMERAL:
        numeral = value if isinstance(value, str) else value.decode("ascii", "replace")
        if _NUMERAL.fullmatch(numeral):
            value = float(numeral)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf"):
        return value
    raise _wrong(value, what, "a number")


def integer(value: object, what: str) -> int:
    """A whole number; 3.0 is one."""
    found = number(value, what)
    if found != int(found):
        raise ValueError(f"{what} must be a whole number, got {found}")
    return int(found)


def duration(value: object, what: str) -> float:
    """Seconds from a number or a text like '5 minutes'."""
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return parse_duration(value)
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None
    raise _wrong(value, what, "a duration like '5 minutes' or a number of seconds")


def flag(value: object, what: str) -> bool:
    """A boolean; nil counts as false."""
    if value is None or isinstance(value, bool):
        return bool(value)
    raise _wrong(value, what, "true or false")


def mapping(value: object, what: str) -> dict[str, object]:
    """A table with named entries, or an empty one."""
    if isinstance(value, dict):
        return value
    if value == []:
        return {}
    raise _wrong(value, what, "a table with named entries")


def sequence(value: object, what: str) -> list[object]:
    """A table that is a list, or an empty one."""
    if isinstance(value, list):
        return value
    if value == {}:
        return []
    raise _wrong(value, what, "a list")


def callback(value: object, what: str) -> LuaFunction:
    """A Lua function."""
    if callable(value) and facade_of(type(value)) is None:
        function: LuaFunction = value
        return function
    raise _wrong(value, what, "a function")
