"""What was told of a fault: the kinds of events that the gateway's API has at the end, and the line in the log that each
of them is."""
import re

from lib import admin

# What every gateway tells that finds its target, and no more.
ALWAYS = {"listener_open", "session_up", "export_online"}

# The line of each kind.
LINES = {
    "rung": r"recovery: target=array .*rung=",
    "rung_begun": r"target array is (aborting|resetting|clearing)",
    "request_failed": r"export vol0 \(target array, LUN 1\): .* failed",
    "hold_expired": r"no path to the LUN",
    "hold_over": r"there is a path to the LUN again",
    "session_up": r"target array: logged in to",
    "session_lost": r"target array: session lost: .*; requests are held .*; it was there for",
    "session_back": r"target array: logged in to .*; there was no session for",
    "login_failing": r"target array: no session yet: ",
    "session_stolen": r"target array: the session may be another one's",
    "export_online": r"export vol0: online, ",
    "export_offline": r"export vol0: offline: ",
    "listener_open": r"listening on tcp://",
    "cache_in_doubt": r"may have lost what was in its volatile cache: .* write\(s\)",
    "cache_told": r"FLUSH or FUA request\(s\) failed",
    "lun_in_question": r"another disk, or none, may be behind the LUN now",
    "lun_confirmed": r"the LUN is the disk that it was",
    "lun_refused": r"the LUN must not be used",
    "lun_grown": r"the LUN is larger",
}
WITH_DURATION = {"rung", "session_lost", "session_back", "export_offline", "hold_expired", "hold_over"}


def events(server):
    return admin.get(server.admin_port, "/v1/events").json()["events"]


def kinds(found):
    """In order of first appearance, without what is always told."""
    names = list(dict.fromkeys(event["kind"] for event in found))
    again = [event["kind"] for event in found].count("export_online") > 1
    return [kind for kind in names if kind not in ALWAYS or (kind == "export_online" and again)]


def wrong(expected, found, log):
    """What is not as it must be. `expected`: kinds that must be there, each as "kind" or "kind: words that it says", and
    such with a question mark behind that may be; nothing else may. None: it is not judged what there is, only how."""
    seen = kinds(found)
    if expected is not None:
        wanted = [one for one in expected if not one.endswith("?")]
        for one in wanted:
            kind, _, words = one.partition(": ")
            if not any(event["kind"] == kind and words in event.get("cause", event.get("text", "")) for event in found):
                yield f"not told: {one}; told was {', '.join(seen) or 'nothing'}"
            elif kind == "export_online" and kind not in seen:
                yield "not told: that the export is online again"
        allowed = {one.rstrip("?").partition(": ")[0] for one in expected}
        more = [kind for kind in seen if kind not in allowed]
        if more:
            yield f"told, too: {', '.join(more)}"
    for kind in {event["kind"] for event in found}:
        if not re.search(LINES.get(kind, "(?!)"), log):
            yield f"no line in the log for {kind}"
    for event in found:
        if event["kind"] in WITH_DURATION and "duration_seconds" not in event:
            yield f"{event['kind']} has no duration"
