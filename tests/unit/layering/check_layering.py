#!/usr/bin/env python3
"""Checks the layers from the #include lines: an arrow goes only downward, and the pure layers do no I/O. And that nobody
asks a shard for turns by hand, or logs past gateway/net/log.hpp, and that no folder grows without end.

Usage: check_layering.py ROOT
"""
import pathlib
import re
import sys

# Each layer and what it may include beside itself (ARCHITECTURE.md, "Layers").
ALLOWED = {
    "gateway/app": ["gateway/admin", "gateway/http", "gateway/control", "gateway/shard", "gateway/target_host",
                    "gateway/attach", "gateway/net", "gateway/iscsi_target", "proto", "config"],
    "gateway/attach": ["gateway/net", "proto", "config"],
    # Of the engines only the words for what they count.
    "gateway/admin": ["gateway/http", "gateway/control", "gateway/shard", "gateway/target_host", "gateway/net",
                      "gateway/iscsi_target", "gateway/initiator/counters.hpp", "gateway/nbd/close_reason.hpp", "proto",
                      "config"],
    "gateway/http": ["gateway/net", "proto", "config"],
    "gateway/control": ["gateway/shard", "gateway/net", "gateway/device/disposition.hpp", "proto", "config"],
    "gateway/shard": ["gateway/net", "gateway/bridge", "gateway/nbd", "gateway/device", "gateway/initiator", "proto",
                      "config"],
    "gateway/target_host": ["gateway/net", "gateway/iscsi_target", "proto"],
    "gateway/net": ["proto", "config"],
    "gateway/bridge": ["gateway/nbd", "gateway/device", "gateway/initiator", "proto"],
    "gateway/nbd": ["proto"],
    "gateway/device": ["gateway/initiator", "proto"],
    "gateway/initiator": ["proto"],
    "gateway/iscsi_target": ["proto"],
    "proto": [],
    "config": ["proto"],
}
# Whoever is new finds his way about in a folder of so many rooms: headers, each with its sources.
MOST_ROOMS = 30
PURE = ["proto", "gateway/initiator", "gateway/device", "gateway/nbd", "gateway/bridge", "gateway/iscsi_target"]
IMPURE = re.compile(
    r"^(boost/(asio|beast|thread|process)|thread|mutex|shared_mutex|condition_variable|atomic|future|chrono|ctime|time\.h"
    r"|random|fstream|filesystem|iostream|sys/(socket|epoll|mman|stat|time|eventfd|random)\.h|unistd\.h|fcntl\.h"
    r"|netinet/|arpa/|openssl/(rand|ssl|bio)\.h|pthread\.h|signal\.h|csignal|spdlog/)")
# Whoever has work rings a bell (proto/bell.hpp): a turn that has to be asked for is one that can be forgotten.
TOUCH = re.compile(r"\btouch\(")
MAY_TOUCH = {"gateway/shard/shard.hpp", "gateway/shard/shard.cpp", "gateway/shard/nbd_client.cpp"}
# The one way to the log is gateway/net/log.hpp; what knows spdlog is what is behind it, and who puts it together.
SPDLOG = re.compile(r"\bspdlog(::|/)")
BEHIND_THE_LOG = re.compile(r"gateway/net/log(_sink)?\.cpp|gateway/net/log_sink\.hpp|gateway/admin/log_counts\.[ch]pp"
                            r"|gateway/app/logging\.cpp")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def layer_of(path):
    return next((name for name in sorted(ALLOWED, key=len, reverse=True) if path.startswith(name + "/")), None)


def main():
    root = pathlib.Path(sys.argv[1])
    errors, checked = [], 0
    for layer in ALLOWED:
        for folder in {path.parent for path in (root / layer).rglob("*.hpp")}:
            rooms = len(list(folder.glob("*.hpp")))
            if rooms > MOST_ROOMS:
                errors.append(f"{folder.relative_to(root)}: {rooms} rooms; it may have several meanings by now")
    for top in ("gateway", "proto", "config"):
        for path in sorted((root / top).rglob("*.[ch]pp")):
            name = path.relative_to(root).as_posix()
            layer = layer_of(name)
            if layer is None:
                errors.append(f"{name}: belongs to no layer")
                continue
            checked += 1
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if layer == "gateway/shard" and name not in MAY_TOUCH and TOUCH.search(line):
                    errors.append(f"{name}:{number}: asks for a turn by hand; its engine, or its own bell, should ring")
                if SPDLOG.search(line) and not BEHIND_THE_LOG.fullmatch(name):
                    errors.append(f"{name}:{number}: logs past gateway/net/log.hpp")
                found = INCLUDE.match(line)
                if not found:
                    continue
                quote, header = found.groups()
                if quote == '"':
                    other = layer_of(header)
                    if other is None:
                        errors.append(f'{name}:{number}: "{header}" is not written from the root of the tree')
                    elif other != layer and other not in ALLOWED[layer] and header not in ALLOWED[layer]:
                        errors.append(f"{name}:{number}: {layer} must not include {header}")
                elif layer in PURE and IMPURE.match(header):
                    errors.append(f"{name}:{number}: {layer} is pure and must not include <{header}>")
    print("\n".join(errors) if errors else f"layering: {checked} files in order")
    return 1 if errors or checked == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
