"""The recovery events in a gateway's log: one line for each rung climbed."""
import dataclasses
import datetime
import re

_LINE = re.compile(r"^(?P<time>\S+) \w+ .*?recovery: (?P<fields>.*)$", re.MULTILINE)
_FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)')

# From the least to the most drastic; a relogin without a session reset is for a lost connection.
RUNGS = ["timeout", "abort_task", "lu_reset", "target_warm_reset", "relogin", "session_reset"]


@dataclasses.dataclass(frozen=True)
class Event:
    at: float  # seconds since the epoch, when it ended
    rung: str
    outcome: str
    lun: str
    tasks: int
    duration_ms: float
    cause: str


def events(log):
    """Every recovery event of a log, in order."""
    found = []
    for line in _LINE.finditer(log):
        fields = {key: value.strip('"') for key, value in _FIELD.findall(line["fields"])}
        found.append(Event(at=datetime.datetime.fromisoformat(line["time"]).timestamp(), rung=fields["rung"],
                           outcome=fields["outcome"], lun=fields["lun"], tasks=int(fields["tasks"]),
                           duration_ms=float(fields["duration"].removesuffix("ms")), cause=fields["cause"]))
    return found


def climbed(log):
    """The rungs climbed as ["abort_task refused", "lu_reset success", ...], each once, in order of first appearance."""
    return list(dict.fromkeys(f"{event.rung} {event.outcome}" for event in events(log)))


def highest(log):
    """The most drastic rung that was climbed, or "-"."""
    return max((event.rung for event in events(log)), key=RUNGS.index, default="-")
