"""A configuration written out: every field with what it means, its bounds and its default."""

from __future__ import annotations

import dataclasses
import textwrap
from typing import Any

import yaml

from rhmnet.config import Config, to_dict

_WIDTH = 100


def listing(config: Config) -> str:
    """YAML that `load_config` reads back as this configuration, with a comment for every field."""
    values, defaults = to_dict(config), to_dict(Config())
    lines = []
    for group in dataclasses.fields(Config):
        fields = getattr(config, group.name)
        lines += [f"# {(type(fields).__doc__ or '').splitlines()[0]}", f"{group.name}:"]
        for field in dataclasses.fields(fields):
            default = _yaml(defaults[group.name][field.name])
            told = f"{field.metadata['help']} ({field.metadata['rule']}; default {default})"
            lines += textwrap.wrap(told, _WIDTH, initial_indent="  # ", subsequent_indent="  #   ")
            lines.append(f"  {field.name}: {_yaml(values[group.name][field.name])}")
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"


def _yaml(value: Any) -> str:
    """A value on one line."""
    dumped = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), allow_unicode=True)
    return dumped.removesuffix("...\n").strip()
