#!/usr/bin/python3
"""Writes the dashboards beside this file. Change them here, not in the JSON: a test holds the one to the
other. What is common to all is in build.py."""
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE))

import build  # noqa: E402
import export  # noqa: E402
import overview  # noqa: E402
import session  # noqa: E402

DASHBOARDS = {"overview.json": overview.dashboard, "export.json": export.dashboard,
              "session-and-recovery.json": session.dashboard}


def generated():
    """{file name: text}"""
    return {name: build.to_text(dashboard()) for name, dashboard in DASHBOARDS.items()}


if __name__ == "__main__":
    for name, text in generated().items():
        (HERE / name).write_text(text)
