#!/usr/bin/python3
"""Holds dashboards/ against the catalogue of metrics, against Prometheus' own judgement (promtool), and its parts
against each other. With --scrape, what a running gateway shows. Ends with "N passed, N failed"; exit status 1 if
anything failed."""
import argparse
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(ROOT / "dashboards/grafana"))

import boards  # noqa: E402
import catalogue  # noqa: E402
import evaluate  # noqa: E402
import generate  # noqa: E402
import planted  # noqa: E402
import promql  # noqa: E402
import report  # noqa: E402
import rules  # noqa: E402
import scrape  # noqa: E402
from names import VALUES  # noqa: E402


def promtool(*words):
    """The complaints of promtool; none if it is content."""
    done = subprocess.run(["promtool", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return [] if done.returncode == 0 else done.stdout.strip().splitlines()[-60:] or ["it says nothing"]


def check_catalogue(metrics):
    yield "the catalogue can be read", [] if len(metrics.metrics) >= 70 and len(metrics.buckets) >= 10 else [
        f"{len(metrics.metrics)} metrics and {len(metrics.buckets)} buckets are too few"]
    unknown = [f"names.py: {key}" for key in VALUES if isinstance(key, tuple) and (
        key[0] not in metrics.metrics or key[1] not in metrics.metrics[key[0]].labels)]
    yield "values are of labels that there are", unknown


def check_generated(found):
    for name, text in generate.generated().items():
        same = any(board.path.name == name and board.path.read_text() == text for board in found)
        yield f"{name} is what generate.py writes", [] if same else ["run dashboards/grafana/generate.py"]
    extra = {board.path.name for board in found} - set(generate.DASHBOARDS)
    yield "every dashboard is generated", sorted(extra)


def check_queries(metrics, found, ours):
    """All dashboards' queries, run by Prometheus."""
    files = [path for path in ours.files if "recording" in path.name]
    with tempfile.TemporaryDirectory() as folder:
        test, queries = evaluate.write(pathlib.Path(folder), metrics, found, files, ours.groups)
        said = promtool("test", "rules", test)
    troubles = [f"{where}: {expr}" for name, (where, expr) in queries.items()
                if any(name + "[" in line for line in said)]
    yield f"{len(queries)} queries of dashboards show something", troubles or said


# Every process shows it, and it tells nothing of this one: its arenas are mapped whole at the start.
SHOWN_NOWHERE = {"process_virtual_memory_bytes"}


def check_unused(metrics, used):
    """Every metric is somewhere to be seen: what nobody looks at need not be counted."""
    bases = {metrics.series(name)[0].name for name in used if metrics.series(name)}
    yield "every metric is on a dashboard or in a rule", sorted(set(metrics.metrics) - bases - SHOWN_NOWHERE)


def everything(metrics):
    names = promql.Names(metrics, VALUES)
    ours = rules.Rules(ROOT / "dashboards/prometheus")
    found = [boards.Board(path) for path in sorted((ROOT / "dashboards/grafana").glob("*.json"))]
    yield from check_catalogue(metrics)
    yield from planted.check(promql.Names(metrics, VALUES))
    yield "promtool check rules", promtool("check", "rules", *ours.files)
    for path in ours.tests:
        yield f"promtool test rules {path.name}", promtool("test", "rules", path)
    yield from rules.check_recordings(ours, names)
    yield from rules.check_alerts(ours, names, ROOT)
    yield from rules.check_cases(ours)
    yield from rules.check_runbooks(ours, names, ROOT / "dashboards/runbooks")
    yield from rules.check_console(ROOT)
    yield from rules.check_readme(ours, ROOT / "dashboards/README.md")
    yield from check_generated(found)
    yield from boards.check_together(found)
    for board in found:
        yield from boards.check(board, names)
    yield from check_queries(metrics, found, ours)
    yield from check_unused(metrics, names.used)


def main():
    parser = argparse.ArgumentParser(description="Checks dashboards, alerts and runbooks.")
    parser.add_argument("--scrape", metavar="FILE", type=argparse.FileType(),
                        help="check an answer of a gateway's /metrics instead ('-': standard input)")
    options = parser.parse_args()
    counted = report.Report()
    metrics = catalogue.Catalogue(ROOT / "gateway/admin/catalogue.hpp", ROOT)
    checks = scrape.check(options.scrape.read(), metrics, VALUES) if options.scrape else everything(metrics)
    for what, troubles in checks:
        counted.note(what, troubles)
    print(counted.line())
    return 0 if counted.failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
