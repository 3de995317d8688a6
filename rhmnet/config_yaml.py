"""YAML of configurations, which may come from anywhere: plain values, and nothing that grows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from rhmnet.bounds import short
from rhmnet.errors import InputError

MOST_BYTES = 256 * 2**10
_DEEPEST = 20
_UNKNOWN = ("timestamp", "binary", "omap", "pairs", "set")
"""Kinds of YAML that no field has. A date without quotes is text: a folder may be named so."""


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
