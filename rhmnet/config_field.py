"""How a configuration's field is declared, and how plain values become groups of fields."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any

from rhmnet.bounds import Choice, Flag, Range, Rule, Several, Text, check, short
from rhmnet.errors import InputError


def declare(default: Any, help: str, rule: Rule) -> Any:
    """A field with what it means, with its unit, and what it may be."""
    return dataclasses.field(default=default, metadata={"help": help, "rule": rule})


def number(default: Any, help: str, least: float, most: float, **more: Any) -> Any:
    """A field that holds a number from `least` to `most`; more: the other fields of `Range`."""
    return declare(default, help, Range(least, most, **more))


def numbers(default: Any, help: str, each: Range, least: int, most: int) -> Any:
    """A field that holds `least` to `most` numbers."""
    return declare(default, help, Several(each, least, most))


def choice(default: str, help: str, words: tuple[str, ...]) -> Any:
    """A field that holds one of the words."""
    return declare(default, help, Choice(words))


def flag(default: bool, help: str) -> Any:
    """A field that is true or false."""
    return declare(default, help, Flag())


def text(default: str | None, help: str, **more: Any) -> Any:
    """A field that holds a name or a path; more: the fields of `Text`."""
    return declare(default, help, Text(**more))


def check_fields(config: Any) -> None:
    """Check every field of every group; raises InputError that names the field."""
    for group in dataclasses.fields(config):
        fields = getattr(config, group.name)
        for field in dataclasses.fields(fields):
            value = getattr(fields, field.name)
            check(f"{group.name}.{field.name}", value, field.metadata["rule"])


def merge(config: Any, tree: Mapping[str, Any], source: str) -> Any:
    """The configuration with a tree of plain values put in; raises InputError."""
    groups = {}
    for group, fields in tree.items():
        _known(group, type(config), source, prefix="")
        if fields is None:
            continue
        if not isinstance(fields, Mapping):
            raise InputError(
                f"{source}: {group} must hold `field: value` lines, found {short(fields)}"
            )
        current = getattr(config, group)
        hints = typing.get_type_hints(type(current))
        values = {}
        for name, value in fields.items():
            _known(name, type(current), source, prefix=f"{group}.")
            values[name] = _coerce(value, hints[name], f"{source}: {group}.{name}")
        groups[group] = dataclasses.replace(current, **values)
    try:
        return dataclasses.replace(config, **groups)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def names_of(owner: type) -> list[str]:
    """The fields of a group, or the groups of a configuration."""
    return [field.name for field in dataclasses.fields(owner)]


def _known(name: Any, owner: type, source: str, prefix: str) -> None:
    names = names_of(owner)
    if name in names:
        return
    shown = name[:60] if isinstance(name, str) and name.isprintable() else short(name)
    near = difflib.get_close_matches(shown, names, n=1)
    hint = f"did you mean {prefix}{near[0]}?" if near else f"expected one of {', '.join(names)}"
    raise InputError(f"{source}: unknown key {prefix}{shown}; {hint}")


def _coerce(value: Any, hint: Any, where: str) -> Any:
    """Check a plain value against a field's type; int passes as float, a list as a tuple."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        options = typing.get_args(hint)
        if type(value) in options:
            return value
        return _coerce(value, next(o for o in options if o is not type(None)), where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise InputError(f"{where}: expected a list, found {short(value)}")
        inner = typing.get_args(hint)[0]
        return tuple(_coerce(item, inner, where) for item in value)
    if hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:  # YAML reads 1e-4 as a string
            return float(value)
        except (ValueError, OverflowError):
            pass
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise InputError(f"{where}: expected {hint.__name__}, found {short(value)}")
