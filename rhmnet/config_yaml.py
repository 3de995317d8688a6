"""Configurations as text: YAML and overrides found, read into groups of fields, and written out.

A file may come from anywhere: plain values are read, and nothing that grows.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import textwrap
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from rhmnet.errors import InputError, short

MOST_BYTES = 256 * 2**10
_DEEPEST = 20
_WIDTH = 100
_UNKNOWN = ("timestamp", "binary", "omap", "pairs", "set")
"""Kinds of YAML that no field has. A date without quotes is text: a folder may be named so."""


def _own_folder() -> Path:
    """The configurations that come with the project: within the package where it is installed."""
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def find_config(name_or_path: str | Path) -> Path:
    """The file of a name under configs/, or of a path. Raises InputError for neither."""
    if not isinstance(name_or_path, (str, os.PathLike)):
        named = f"configuration {short(name_or_path)}"
        raise InputError(f"{named}: expected a name under configs/, or the path of a YAML file")
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if os.path.isfile(path):
            return path
        raise InputError(f"configuration {path}: no such file")
    folders = [_own_folder(), Path("configs")]
    for folder in folders:
        if os.path.isfile(folder / f"{path}.yaml"):
            return folder / f"{path}.yaml"
    names = sorted({p.stem for folder in folders for p in folder.glob("*.yaml")})
    near = difflib.get_close_matches(str(path), names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names)}"
    raise InputError(f"configuration {str(path)!r}: not found under configs/; {hint}")


def read_yaml(path: Path) -> Any:
    """The plain value that a file holds; raises InputError that names the file."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name another file") from None
    if len(content) > MOST_BYTES:
        raise InputError(f"{path}: more than {MOST_BYTES // 2**10} kB; no configuration is so long")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{path}: line {line} is not UTF-8 text; save it as UTF-8") from None
    return parse_yaml(text, str(path))


def read_overrides(overrides: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Values by group and field, from `group.field=value` texts; raises InputError."""
    items = overrides
    if isinstance(items, Iterable) and not isinstance(items, (str, bytes, Mapping)):
        items = list(items)
    if not (isinstance(items, list) and all(isinstance(item, str) for item in items)):
        raise InputError(
            f"overrides {short(overrides)}: expected a list of texts, as "
            '["test.precision=bfloat16"]'
        )
    tree: dict[str, dict[str, Any]] = {}
    for item in items:
        key, equals, text = item.partition("=")
        group, dot, name = key.strip().partition(".")
        if not (equals and dot):
            raise InputError(
                f"override {short(item)}: expected group.field=value, as in data.root=PATH"
            )
        if name in tree.get(group, {}):
            raise InputError(f"override {short(key)}: given twice; keep one")
        tree.setdefault(group, {})[name] = parse_yaml(text, f"override {short(item)}")
    return tree


def parse_yaml(text: str, where: str) -> Any:
    """The plain value of a text; raises InputError that begins with `where`."""
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise InputError(f"{where}: not valid YAML: {_told(error)}") from None
    except (ValueError, KeyError, IndexError, OverflowError) as error:  # !!int x, 5,000 digits
        reason = " ".join(str(error).split())[:80]
        raise InputError(f"{where}: holds a value that cannot be read ({reason})") from None


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


def listing(config: Any) -> str:
    """YAML that reads back as this configuration: every field with what it means, its bounds and
    its default.
    """
    lines = []
    for group in dataclasses.fields(config):
        fields = getattr(config, group.name)
        lines += [f"# {(type(fields).__doc__ or '').splitlines()[0]}", f"{group.name}:"]
        for field in dataclasses.fields(fields):
            told = (
                f"{field.metadata['help']} ({field.metadata['rule']}; default "
                f"{as_yaml(field.default)})"
            )
            lines += textwrap.wrap(told, _WIDTH, initial_indent="  # ", subsequent_indent="  #   ")
            lines.append(f"  {field.name}: {as_yaml(getattr(fields, field.name))}")
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def as_yaml(value: Any) -> str:
    """A value on one line."""
    value = list(value) if isinstance(value, tuple) else value
    dumped = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True)
    return dumped.removesuffix("...\n").strip()


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses keys given twice, references and deep nesting.

    References (`*name`) make a few hundred bytes stand for more than any memory holds.
    """

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise _problem("references (*name) are not read; write the value out", mark)
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _problem(f"nested more than {_DEEPEST} deep", self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _problem("a key must be a name", key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise _problem(f"key {short(key)} is given twice; keep one", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(_UNKNOWN)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if not (tag or "").endswith(tuple(f":{kind}" for kind in _UNKNOWN))
}


def _problem(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _told(error: yaml.YAMLError) -> str:
    """What is wrong and in which line, cut short."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if problem is None:
        return " ".join(str(error).split())[:120]
    context = f"{error.context}, " if getattr(error, "context", None) else ""
    place = f"line {mark.line + 1}: " if mark else ""
    return f"{place}{' '.join((context + problem).split())[:120]}"
