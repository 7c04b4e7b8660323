"""The faults that are tried, and what each must come to."""
import dataclasses
import sys

from lib import power_loss, recovery_log

# A whole climb takes a few seconds. A command is overdue after the first and a ping's time.
TIMEOUTS = {"command": "1s", "abort": "1s", "lu_reset": "1s", "target_reset": "1s", "nop_interval": "1s",
            "nop_timeout": "1s", "login": "5s", "logout": "1s", "replacement": "60s"}
OVERDUE_MS = 2000
TMF_MS = 1000      # a function that is not answered
MARGIN_MS = 4000   # beyond the timers: no measure of speed (tests/bench has that), but no further timer either
READY_MS = 1900    # nobody waited for a timer

ABORT_TASK, LU_RESET = 1, 5
DIGESTS = {"header_digest": "crc32c", "data_digest": "crc32c"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One fault, or a few that belong together.

    `faults`: (kind, fields), posted in this order. `until`: when they are taken away again: "used" (all their counts
    are used up), a number of seconds, or a rung of the ladder that has ended. `rung`: the highest that must be
    reached, "-" for none, None if it is not judged. `held_ms`: the longest that any reply may take. `errors`: what clients may and must be told,
    as "write ENOSPC". `target_options` are of the gateway's configuration. `blocks`: how many the model's load uses; with
    few, all are written before the fault. `only`: the model's load does no other command, and so nothing waits behind an
    overlapping write. `script` takes the place of the loads. `told`: the kinds of events that must have
    been told, as told.wrong() reads them; empty: nothing may be, None: it is not judged."""
    name: str
    faults: tuple = ()
    until: object = "used"
    rung: str = "-"
    held_ms: int = READY_MS
    errors: tuple = ()
    target_options: dict = dataclasses.field(default_factory=dict)
    blocks: int = 256
    only: str = None
    script: object = None
    told: tuple = ()


def _hang(command, count=1, **fields):
    return ("hang_task", {"opcode": command, "count": count, **fields})


def _tmf(kind, count=1, **fields):
    return (kind, {"count": count, **fields})


def _self_redirect(target):
    return target.portal


# What is told of a climb, of a session that is lost and comes back (a LUN may be reset before it is used again), and of
# a LUN that may be another disk.
LADDER = ("rung", "rung_begun: a command is overdue")
LOST = ("session_lost: session lost: ", "export_offline: offline: ", "session_back: there was no session for",
        "export_online: it was not for", "rung", "rung_begun?")
QUESTION = ("lun_in_question", "lun_confirmed")

RETRIES = 5  # as often as a command is sent again: one may meet all of them
_BACK_MS = 4000  # a lost session is back, and what was in flight has been done again

ALL = [
    # Commands that do not come back.
    Row("hang_task, a read", (_hang("read"),), rung="abort_task", held_ms=OVERDUE_MS + MARGIN_MS, told=LADDER),
    Row("hang_task, a write", (_hang("write"),), rung="abort_task", held_ms=OVERDUE_MS + MARGIN_MS, told=LADDER),
    Row("hang_task, a write that was done", (_hang("write", executed=True),), rung="abort_task",
        held_ms=OVERDUE_MS + MARGIN_MS, told=LADDER),
    Row("hang_task, 16 commands", (_hang("write", 8), _hang("read", 8)), rung="abort_task",
        held_ms=2 * OVERDUE_MS + MARGIN_MS, told=LADDER),
    # The abort is answered well, but no TEST UNIT READY is; it is while the next rung waits for its own.
    Row("hang_lun, 2.5 s", (("hang_lun", {"lun": 1}),), until=2.5, rung="lu_reset",
        held_ms=2 * OVERDUE_MS + MARGIN_MS, told=LADDER),
    Row("hang_lun, for good", (("hang_lun", {"lun": 1}),), until=2 * OVERDUE_MS / 1000 + 1, rung="session_reset",
        held_ms=2 * OVERDUE_MS + MARGIN_MS, errors=("read EIO",), only="read",
        # Else it hangs at the look after each of the silences.
        target_options={"retries": 1, "after_silence": "trust"},
        told=(*LADDER, *LOST, "request_failed: the target does not answer the command")),
    Row("delay, 300 ms", (("delay", {"delay_ms": 300, "probability": 0.1, "count": 50}),)),
    Row("delay, beyond the command's time", (("delay", {"delay_ms": 10000, "count": 2}),), rung="abort_task",
        held_ms=OVERDUE_MS + MARGIN_MS, told=LADDER),
    # Task management that fails, too.
    Row("hang_tmf, the abort", (_hang("write"), _tmf("hang_tmf", function=ABORT_TASK)), rung="session_reset",
        held_ms=OVERDUE_MS + TMF_MS + MARGIN_MS, told=(*LADDER, *LOST)),
    Row("hang_tmf, the LUN reset", (_hang("write"), _tmf("refuse_tmf", function=ABORT_TASK),
                                    _tmf("hang_tmf", function=LU_RESET)), rung="session_reset",
        held_ms=OVERDUE_MS + TMF_MS + MARGIN_MS, told=(*LADDER, *LOST)),
    Row("refuse_tmf, the abort", (_hang("write"), _tmf("refuse_tmf")), rung="lu_reset",
        held_ms=OVERDUE_MS + MARGIN_MS, told=LADDER),
    Row("refuse_tmf, the LUN reset, too", (_hang("write"), _tmf("refuse_tmf", 2)), rung="target_warm_reset",
        held_ms=OVERDUE_MS + MARGIN_MS, told=LADDER),
    Row("refuse_tmf, every one", (_hang("write"), _tmf("refuse_tmf", 3)), rung="session_reset",
        held_ms=OVERDUE_MS + MARGIN_MS, told=(*LADDER, *LOST)),
    Row("refuse_tmf, without fast_abort", (_hang("write"), _tmf("refuse_tmf")), rung="lu_reset",
        held_ms=OVERDUE_MS + MARGIN_MS, target_options={"fast_abort": False}, told=LADDER),
    Row("tmf_lies, the abort", (_hang("write"), _tmf("tmf_lies", function=ABORT_TASK)), rung="lu_reset",
        held_ms=OVERDUE_MS + MARGIN_MS, told=LADDER),
    Row("tmf_lies, every one", (_hang("write"), _tmf("tmf_lies", 3)), rung="session_reset",
        held_ms=OVERDUE_MS + MARGIN_MS, told=(*LADDER, *LOST)),
    Row("tmf_lies, and answers late", (_hang("read"), _tmf("tmf_lies", response=0, late_answer=True)),
        rung="abort_task", held_ms=OVERDUE_MS + MARGIN_MS, told=LADDER),
    # Connections.
    Row("drop_connection, all", (("drop_connection", {}),), rung="relogin", held_ms=_BACK_MS, told=LOST),
    Row("drop_connection, one", (("drop_connection", {"cid": 2}),), rung="relogin", held_ms=_BACK_MS, told=LOST),
    Row("drop_connection, half of one", (("drop_connection", {"cid": 1, "half_close": True}),), rung="relogin",
        held_ms=_BACK_MS, told=LOST),
    Row("drop_connection, at writes", (("drop_connection", {"opcode": "write", "count": 3, "skip": 20}),),
        rung="relogin", held_ms=3 * _BACK_MS, told=(*LOST, "session_stolen?")),
    Row("digest_error, header", (("digest_error", {"where": "header", "count": 2, "skip": 20}),), rung="relogin",
        held_ms=2 * _BACK_MS, target_options=DIGESTS, told=LOST),
    Row("digest_error, data", (("digest_error", {"where": "data", "count": 2, "skip": 20}),), rung="relogin",
        held_ms=2 * _BACK_MS, target_options=DIGESTS, told=LOST),
    Row("async_event 1, logout wanted", (("async_event", {"event": 1, "parameter3": 1}),), rung="relogin",
        held_ms=3000, told=LOST),
    Row("async_event 2, connection dropped", (("async_event", {"event": 2, "parameter1": 1, "parameter2": 1}),),
        rung="relogin", held_ms=3000, told=LOST),
    Row("async_event 3, session dropped", (("async_event", {"event": 3, "parameter2": 1}),), rung="relogin",
        held_ms=3000, told=LOST),
    Row("async_event 4, negotiation wanted", (("async_event", {"event": 4, "parameter3": 1}),), rung="relogin",
        held_ms=3000, told=LOST),
    Row("login_refuse, target error", (("login_refuse", {"class": 3, "detail": 1, "count": 2}),
                                       ("drop_connection", {})), rung="relogin", held_ms=_BACK_MS + 500,
        told=(*LOST, "login_failing: the target is not available at the moment (0301)")),
    Row("login_refuse, initiator error", (("login_refuse", {"class": 2, "detail": 2, "count": 1}),
                                          ("drop_connection", {})), rung="relogin", held_ms=_BACK_MS + 500,
        told=(*LOST, "login_failing: not authorized (0202)")),
    Row("redirect, to itself", (("redirect", {"to": _self_redirect, "count": 1}), ("drop_connection", {})),
        rung="relogin", held_ms=_BACK_MS, told=LOST),
    Row("redirect, for good", (("redirect", {"to": _self_redirect, "permanent": True, "count": 1}),
                               ("drop_connection", {})), rung="relogin", held_ms=_BACK_MS, told=LOST),
    Row("redirect, to nowhere", (("redirect", {"to": "127.0.0.1:1", "count": 1}), ("drop_connection", {})),
        rung="relogin", held_ms=_BACK_MS + 500, told=(*LOST, "login_failing: no session yet: ")),
    # Statuses and sense.
    Row("busy", (("busy", {"probability": 0.2, "count": 100}),), held_ms=2000),
    Row("task_set_full", (("task_set_full", {"probability": 0.2, "count": 100}),), held_ms=2000),
    Row("unit_attention, reset", (("unit_attention", {"asc": 0x29, "ascq": 0, "count": 5}),),
        told=("cache_in_doubt: power on, reset, or bus device reset occurred", *QUESTION)),
    Row("unit_attention, capacity", (("unit_attention", {"asc": 0x2A, "ascq": 9, "count": 5}),)),
    Row("unit_attention, inventory", (("unit_attention", {"asc": 0x3F, "ascq": 0x0E, "count": 5}),), told=QUESTION),
    Row("check_condition, aborted command", (("check_condition", {"key": 11, "asc": 0, "ascq": 0, "count": 3}),),
        held_ms=2000),
    Row("check_condition, medium error", (("check_condition", {"key": 3, "asc": 0x11, "ascq": 0,
                                                               "opcode": "read"}),),
        until=2, held_ms=4000, errors=("read EIO",),
        told=("request_failed: CHECK CONDITION: MEDIUM ERROR, unrecovered read error (3/11/00)",)),
    Row("reject", (("reject", {"count": 5, "skip": 5}),), held_ms=OVERDUE_MS + MARGIN_MS),
    Row("freeze_window", (("freeze_window", {}),), until="session_reset", rung="session_reset",
        held_ms=2 * OVERDUE_MS + MARGIN_MS, told=LOST),
    # The medium.
    Row("write_protect", (("write_protect", {}),), until=2, held_ms=2000, errors=("write EPERM",),
        told=("request_failed",)),  # by the LUN, or by us once we have heard of it
    Row("thin_full", (("thin_full", {}),), until=2, held_ms=2000, errors=("write ENOSPC",), blocks=4096,
        told=("request_failed: the thin pool is full (7/27/07)",)),
    Row("power_loss, with unflushed writes", rung="relogin", held_ms=3000,
        script=lambda uri, faults: power_loss.unflushed_write_is_told_once(uri, faults, drop=True),
        told=(*LOST, "cache_in_doubt", "cache_told")),
    Row("power_loss, the session stays", held_ms=3000,
        script=lambda uri, faults: power_loss.unflushed_write_is_told_once(uri, faults, drop=False),
        told=("cache_in_doubt", "cache_told", *QUESTION)),
    Row("power_loss, with nothing unflushed", rung="relogin", held_ms=3000,
        script=lambda uri, faults: power_loss.nothing_unflushed_nothing_told(uri, faults, drop=True), told=LOST),
    # What a target says too early, or only half.
    Row("slow_write, within its deadline", (("slow_write", {"delay_ms": 700, "count": 4}),)),
    Row("slow_write, beyond its deadline", (("slow_write", {"delay_ms": OVERDUE_MS - 500, "count": 1}),),
        rung="abort_task", held_ms=OVERDUE_MS + MARGIN_MS, told=LADDER),
    Row("slow_write, and its session is lost",
        (("slow_write", {"delay_ms": 700, "after_loss": True, "count": 4}),
         ("drop_connection", {"opcode": "write", "count": 1, "skip": 8})), rung="relogin", held_ms=_BACK_MS,
        told=LOST),
    Row("short_data, reads without data", (("short_data", {"opcode": "read", "bytes": 0, "count": RETRIES}),)),
    Row("short_data, reads with a part", (("short_data", {"opcode": "read", "bytes": 1024, "count": RETRIES}),)),
    Row("short_data, writes", (("short_data", {"opcode": "write", "bytes": 1024, "count": RETRIES}),)),
    Row("short_data, reads, and not told", (("short_data", {"opcode": "read", "bytes": 1024, "told": False,
                                                             "count": RETRIES}),)),
    Row("short_data, GOOD", (("short_data", {"bytes": 1024, "good": True, "count": RETRIES}),)),
    Row("freeze_portal, the only one, 3 s", (("freeze_portal", {"portal": 1}),), until=3, rung="relogin",
        held_ms=3000 + _BACK_MS, told=(*LOST, "cache_in_doubt?", "login_failing?")),
    Row("refuse_vpd, after a loss", (("refuse_vpd", {"page": 0x80, "count": 1}),
                                     ("refuse_vpd", {"page": 0x83, "count": 1}), ("drop_connection", {})),
        rung="relogin", held_ms=2 * _BACK_MS, told=(*LOST, "lun_in_question?", "lun_confirmed?")),
    Row("quiet_login", (("quiet_login", {}), ("drop_connection", {})), until=0.5, rung="relogin", held_ms=_BACK_MS,
        told=LOST),
    # How far a mixture climbs is left to chance, but not what clients see of it.
    Row("mixture", (("hang_task", {"probability": 0.01}), ("hang_tmf", {"probability": 0.1}),
                    ("refuse_tmf", {"probability": 0.2}), ("tmf_lies", {"probability": 0.2}),
                    ("drop_connection", {"opcode": "read", "probability": 0.0005}),
                    ("reject", {"probability": 0.005}), ("busy", {"probability": 0.05}),
                    ("task_set_full", {"probability": 0.02}), ("delay", {"delay_ms": 200, "probability": 0.05}),
                    ("unit_attention", {"asc": 0x29, "ascq": 0, "probability": 0.01})),
        until=8, rung=None, held_ms=10000, target_options={"retries": 20}, told=None),
]


def chosen(patterns):
    """The rows with one of these parts in their names; all for none."""
    wanted = [row for row in ALL if not patterns or any(pattern in row.name for pattern in patterns)]
    if not wanted:
        sys.exit(f"no row matches {patterns}: {', '.join(row.name for row in ALL)}")
    assert all(row.rung in (None, "-", *recovery_log.RUNGS) for row in wanted)
    return wanted
