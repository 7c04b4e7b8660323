"""One row: a target, a gateway and two loads of their own; the fault; what came of it."""
import collections
import dataclasses
import errno
import time

from fault import rows, told
from lib import clients, gateway, model_load, pace, process, recovery_log, targets

MIB = 1 << 20
LUN_SIZE = 64 * MIB
FIO_OFFSET = 16 * MIB  # the blocks before are the model's
BEFORE_S = 1           # the loads run before the fault,
AFTER_S = 1.5          # and after the trouble
PATIENCE_S = 30        # for faults to be used up and I/O to flow: above all that a row may take


@dataclasses.dataclass
class Outcome:
    """What a row has come to. `wrong` says what is not as expected; empty: all is."""
    rung: str = "-"
    climbed: list = dataclasses.field(default_factory=list)
    told: list = dataclasses.field(default_factory=list)
    held_ms: float = 0
    errors: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    verify_errors: int = 0
    wrong: list = dataclasses.field(default_factory=list)


def run(row, seed):
    """Runs one row. A process that ends or cannot be started is a wrong outcome, too."""
    outcome = Outcome()
    target = targets.Embedded({1: targets.Lun(LUN_SIZE)}, control=True)
    server = gateway.Gateway({"array": target}, {"vol0": ("array", 1)},
                             target_options={"timeouts": rows.TIMEOUTS, **row.target_options}, admin="http")
    events = []
    try:
        with target, server:
            if row.script:
                _scripted(row, server, target, outcome)
            else:
                _loaded(row, server, target, outcome, seed)
            events = told.events(server)
            log = server.child.log()
            server.stop()
        outcome.told = told.kinds(events)
        outcome.wrong += told.wrong(row.told, events, log)
    except Exception as error:
        outcome.wrong.append(str(error))
    if server.child is not None:
        outcome.climbed = recovery_log.climbed(server.child.log())
        outcome.rung = recovery_log.highest(server.child.log())
    _judge(row, outcome)
    return outcome


def _scripted(row, server, target, outcome):
    start = time.monotonic()
    row.script(server.uri(), target.faults)
    outcome.held_ms = (time.monotonic() - start) * 1000


def _loaded(row, server, target, outcome, seed):
    """fio ends at the first error; where errors are expected the model's load is alone."""
    checker = None if row.errors else _fio(server).start()
    try:
        with model_load.Load(server.uri(), seed, rate=300, blocks=row.blocks, only=row.only) as load:
            time.sleep(BEFORE_S)
            _fault(row, server, target, load)
            time.sleep(AFTER_S)
            early = checker is not None and checker.process.poll() is not None
            if checker is not None and not early:
                checker.interrupt()
            seen = load.stop()
        outcome.errors, outcome.verify_errors = seen.errors, len(seen.mistakes)
        outcome.held_ms = seen.longest_s * 1000
        outcome.wrong += seen.mistakes[:1]
        if checker is not None:
            _add_fio(checker, outcome)
    finally:
        if checker is not None:
            checker.kill()


def _fio(server):
    return clients.Fio(server.uri(), jobs=4, rw="randwrite", bs="16k", iodepth=4, offset=FIO_OFFSET, size="8m",
                       offset_increment="8m", verify="crc32c", verify_fatal=1, verify_backlog=32, time_based=True,
                       runtime=600, rate_iops=100)


def _fault(row, server, target, load):
    posted = [target.faults.post(kind, **{key: value(target) if callable(value) else value
                                          for key, value in fields.items()}) for kind, fields in row.faults]
    if row.until == "used":
        server.child.wait_until(lambda: not any(target.faults.get(number)["active"] for number in posted),
                                "hit by all faults", PATIENCE_S)
    elif isinstance(row.until, str):
        server.child.wait_until(lambda: any(event.rung == row.until
                                            for event in recovery_log.events(server.child.log())),
                                f"at {row.until}", PATIENCE_S)
    else:
        time.sleep(row.until)
    missed = [target.faults.get(number)["fault"] for number in posted if target.faults.hits(number) == 0]
    # Errors, too, are a proof: a gateway that knows of them need not ask again. A mixture is left to chance.
    if missed and not row.errors and row.rung is not None:
        raise AssertionError(f"the target had no occasion for {', '.join(missed)}")
    if row.until != "used":
        target.faults.clear()
    start = time.monotonic()
    server.child.wait_until(lambda: load.flows_since(start), "answering again", PATIENCE_S)


def _add_fio(checker, outcome):
    result = checker.finish(check=False)
    for side in ("read", "write"):
        if result[side]["total_ios"] == 0:
            outcome.wrong.append(f"fio did no {side}")
        else:
            outcome.held_ms = max(outcome.held_ms, result[side]["clat_ns"]["max"] / 1e6)
    if result["error"] == errno.EILSEQ:
        outcome.verify_errors += 1
        outcome.wrong.append("fio: verify error")
    elif result["error"]:
        outcome.errors[f"fio {errno.errorcode[result['error']]}"] += 1


def _judge(row, outcome):
    if row.rung is not None and outcome.rung != row.rung:
        outcome.wrong.append(f"rung {outcome.rung} instead of {row.rung}: {', '.join(outcome.climbed) or 'none'}")
    if outcome.held_ms > pace.limit_here(outcome.held_ms, row.held_ms):
        outcome.wrong.append(f"a reply was held for {outcome.held_ms:.0f} ms, more than {row.held_ms}")
    if set(outcome.errors) != set(row.errors):
        outcome.wrong.append(f"clients saw {dict(outcome.errors) or 'no error'}, expected "
                             f"{', '.join(row.errors) or 'none'}")


def logs():
    return process.fresh_logs()
