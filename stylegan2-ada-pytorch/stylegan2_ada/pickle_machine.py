"""Reads a pickle as data: what it would call is written down, nothing is called.

A pickle is a programme for a small stack machine, and its loader runs it. This machine knows the opcodes that
saved networks use, and keeps an object as a `Call`: the name of what would make it, and the arguments.
In Python's own loader, even with every name forbidden, nine bytes can ask for gigabytes (a memo's index).
"""

import pickletools
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, BinaryIO

_MOST_OPCODES = 1_000_000  # networks of 1024 pixels take some 20,000
_LITERALS = frozenset({
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
})  # fmt: skip
_CONSTANTS = MappingProxyType({"NONE": None, "NEWTRUE": True, "NEWFALSE": False})
_EMPTY: MappingProxyType[str, Callable[[], Any]] = MappingProxyType({
    "EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "EMPTY_SET": list,
})  # fmt: skip


class RefusedError(ValueError):
    """Raised where a file holds what no network needs; the message says what, without the file's name."""


def shown(value: Any) -> str:
    """Return a value of a file for a message: on one line and short, whatever it is."""
    plain = isinstance(value, str | float | None) or (isinstance(value, int) and abs(value) < 2**64)
    return ascii(value)[:80] if plain else f"<{type(value).__name__}>"


@dataclass(frozen=True)
class Name:
    """A function or class that a pickle names, such as collections.OrderedDict."""

    text: str


@dataclass(eq=False)
class Call:
    """An object of a pickle: the name of what would make it, arguments, and what would be put into it."""

    name: str
    arguments: tuple[Any, ...]
    items: dict[Any, Any] = field(default_factory=dict)
    state: Any = None


class Machine:
    """One pass over one pickle; `names` are those it may hold."""

    def __init__(self, names: Collection[str], *, references: bool = False) -> None:
        self._names = names
        self._references = references  # by persistent ids, to what lies outside of the pickle
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []  # a stack for every mark
        self._memo: dict[int, Any] = {}

    def read(self, file: BinaryIO, most: int = _MOST_OPCODES) -> Any:
        """Return the value of the pickle that starts here, of so many opcodes; the file then is behind it."""
        try:
            for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
                if count >= most:
                    raise RefusedError(f"has more than {most} parts")
                self._step(opcode.name, argument)
            return self._stack.pop()
        except RefusedError:
            raise
        except (ValueError, IndexError, KeyError, TypeError, DeprecationWarning) as error:
            # The warning, where warnings are errors, is of a backslash in a name.
            raise RefusedError(f"is no whole pickle ({shown(str(error))})") from error

    def _step(self, opcode: str, argument: Any) -> None:
        if opcode in _LITERALS:
            self._push(argument)
        elif opcode in _CONSTANTS:
            self._push(_CONSTANTS[opcode])
        elif opcode in _EMPTY:
            self._push(_EMPTY[opcode]())
        elif opcode in _STEPS:
            _STEPS[opcode](self, argument)
        elif opcode not in ("PROTO", "FRAME", "STOP"):
            raise RefusedError(f"uses the opcode {opcode}")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _mark(self, _: Any) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        values, self._stack = self._stack, self._below.pop()
        return values

    def _tuple(self, count: int) -> None:
        if len(self._stack) < count:
            raise IndexError("stack is empty")
        values = tuple(self._stack[-count:])
        del self._stack[-count:]
        self._push(values)

    def _extend(self, values: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise TypeError("items for what is no list")
        self._stack[-1].extend(values)

    def _set_items(self, values: list[Any]) -> None:
        target = self._stack[-1]
        items = target.items if isinstance(target, Call) else target
        if not isinstance(items, dict) or len(values) % 2:
            raise TypeError("items for what is no dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, str | int | None):  # hashing a deep tuple overflows the stack of C
                raise TypeError("a key that is neither text nor number")
            items[key] = value

    def _put(self, index: int | None) -> None:
        self._memo[len(self._memo) if index is None else index] = self._stack[-1]

    def _name(self, text: str) -> None:
        if text not in self._names:
            raise RefusedError(f"names {shown(text)}")
        self._push(Name(text))

    def _stack_name(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):  # writing a deep tuple overflows
            raise TypeError("a name that is no text")
        self._name(f"{module}.{name}")

    def _call(self, _: Any) -> None:
        arguments, name = self._stack.pop(), self._stack.pop()
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            raise RefusedError("calls what is no name")
        self._push(Call(name.text, arguments))

    def _build(self, _: Any) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if not isinstance(target, Call):
            raise RefusedError(f"puts a state into a {type(target).__name__}")
        target.state = state

    def _reference(self, _: Any) -> None:
        if not self._references:
            raise RefusedError("refers to what lies outside of it (a persistent id)")
        self._push(Call("", (self._stack.pop(),)))


_STEPS: MappingProxyType[str, Callable[[Machine, Any], None]] = MappingProxyType({
    "MARK": Machine._mark,
    "POP": lambda machine, _: machine._stack.pop(),
    "POP_MARK": lambda machine, _: machine._since_mark().clear(),
    "TUPLE": lambda machine, _: machine._push(tuple(machine._since_mark())),
    "TUPLE1": lambda machine, _: machine._tuple(1),
    "TUPLE2": lambda machine, _: machine._tuple(2),
    "TUPLE3": lambda machine, _: machine._tuple(3),
    "APPEND": lambda machine, _: machine._extend([machine._stack.pop()]),
    "APPENDS": lambda machine, _: machine._extend(machine._since_mark()),
    "ADDITEMS": lambda machine, _: machine._extend(machine._since_mark()),
    "SETITEM": lambda machine, _: machine._set_items([machine._stack.pop(), machine._stack.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine._set_items(machine._since_mark()),
    "BINPUT": Machine._put,
    "LONG_BINPUT": Machine._put,
    "MEMOIZE": Machine._put,
    "BINGET": lambda machine, index: machine._push(machine._memo[index]),
    "LONG_BINGET": lambda machine, index: machine._push(machine._memo[index]),
    "GLOBAL": lambda machine, text: machine._name(text.replace(" ", ".")),
    "STACK_GLOBAL": Machine._stack_name,
    "REDUCE": Machine._call,
    "NEWOBJ": Machine._call,
    "BUILD": Machine._build,
    "BINPERSID": Machine._reference,
})  # fmt: skip
