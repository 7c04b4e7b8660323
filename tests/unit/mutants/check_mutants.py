#!/usr/bin/env python3
"""Checks that no bug which tests/sim can plant (proto/mutant_list.hpp) has left a trace in the program.

Usage: check_mutants.py ROOT PROGRAM...     programs that are not built are passed over, but not all of them
"""
import pathlib
import re
import sys

NAME = re.compile(r"^\s*X\((\w+),", re.MULTILINE)


def main():
    root, *programs = map(pathlib.Path, sys.argv[1:])
    names = NAME.findall((root / "proto/mutant_list.hpp").read_text())
    used = set()
    for top in ("gateway", "proto", "config"):
        for path in (root / top).rglob("*.[ch]pp"):
            used.update(re.findall(r"NBDGW_MUTANT\((\w+)\)", path.read_text()))
    errors = [f"{name}: is planted nowhere" for name in names if name not in used]
    if len(set(names)) != len(names):
        errors.append("a name is there twice")
    built = {program.resolve() for program in programs if program.exists()}
    for program in built:
        content = program.read_bytes()
        errors += [f"{name}: is found in {program}" for name in [*names, "planted_mutant"] if name.encode() in content]
    print("\n".join(errors) if errors else f"mutants: none of {len(names)} in {len(built)} programs")
    return 1 if errors or not names or not built else 0


if __name__ == "__main__":
    sys.exit(main())
