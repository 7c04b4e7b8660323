"""Writes plain dicts, lists and scalars as block YAML, the way a user would write a configuration."""
import json
import re

# Strings that YAML takes as they are and for nothing else than a string.
_PLAIN = re.compile(r"(?!(?:true|false|null|yes|no|on|off)$)(?![0-9.+-]+$)[A-Za-z0-9/][A-Za-z0-9./:+_-]*[A-Za-z0-9]$")


def dump(value):
    return "\n".join(_lines(value)) + "\n"


def _scalar(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if _PLAIN.match(value):
        return value
    return json.dumps(value)


def _lines(value):
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, (dict, list)) and item:
                yield f"{key}:"
                yield from ("  " + line for line in _lines(item))
            else:
                yield f"{key}: {'[]' if item == [] else '{}' if item == {} else _scalar(item)}"
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, (dict, list)):
                lines = list(_lines(item))
                yield "- " + lines[0]
                yield from ("  " + line for line in lines[1:])
            else:
                yield "- " + _scalar(item)
    else:
        yield _scalar(value)
