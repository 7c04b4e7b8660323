"""iSCSI sessions: connections, window, SCSI, and the ladder."""
from build import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    YELLOW,
    dashboard as make,
    heatmap,
    lines,
    number,
    query,
    row,
    states,
    variable,
)

F = 'instance=~"$instance",session=~"$session"'
RATE = "$__rate_interval"
WHO = "{{instance}} {{session}}"

MARKS = {
    "Session lost": (RED, f"increase(nbdgw_iscsi_session_losses_total{{{F}}}[1m]) > 0", WHO),
    "Rung climbed": (
        ORANGE,
        f"increase(nbdgw_recovery_rungs_total{{{F},rung!~\"timeout|relogin\"}}[1m]) > 0",
        WHO + " {{rung}} {{outcome}}",
    ),
    "Logged in": (BLUE, f"increase(nbdgw_iscsi_logins_total{{{F},outcome=\"success\"}}[1m]) > 0", WHO),
}


def _now():
    return row(
        "Now",
        number(
            "Sessions down",
            (
                "Chosen sessions that are not logged in. All exports of such a target are offline, and their "
                "requests held. The gateway tries again by itself, every 5 s at the latest."
            ),
            "none",
            f"count(nbdgw_iscsi_session_up{{{F}}} == 0) or vector(0)",
            (GREEN, (1, RED)),
            width=3,
        ),
        number(
            "Connections missing",
            (
                "Connections configured but not there. Less throughput and no reserve; the rest goes "
                "on. A target may grant fewer than asked for: then lower targets[].connections."
            ),
            "none",
            f"sum(nbdgw_iscsi_connections_wanted{{{F}}}) - sum(nbdgw_iscsi_connections{{{F}}})",
            (GREEN, (1, YELLOW)),
            width=3,
        ),
        number(
            "Smallest window",
            (
                "Commands that the target would take now, the least of all chosen sessions. 0 at every "
                "look: it is saturated, or stuck."
            ),
            "none",
            f"min(nbdgw_iscsi_window{{{F}}} and on (job, instance, session) (nbdgw_iscsi_session_up == 1))",
            (RED, (1, YELLOW), (8, GREEN)),
            width=3,
        ),
        number(
            "Being climbed now",
            (
                "Rungs of the escalation ladder that are being climbed now. For more than a minute: the "
                "target does not answer resets either."
            ),
            "none",
            f"sum(nbdgw_recovery_active{{{F}}})",
            (GREEN, (1, ORANGE)),
            width=3,
        ),
        number(
            "Lost, 24 h",
            (
                "Times that a session was lost: every one a pause for all its exports. More than a few a day: "
                "look for the reason in the events."
            ),
            "none",
            f"sum(increase(nbdgw_iscsi_session_losses_total{{{F}}}[24h]))",
            (GREEN, (0.5, YELLOW), (10, RED)),
            width=3,
            decimals=0,
        ),
        number(
            "Commands timed out, 24 h",
            "Commands not answered within timeouts.command, each of which began a climb. A healthy target has none.",
            "none",
            f"sum(increase(nbdgw_recovery_commands_timed_out_total{{{F}}}[24h]))",
            (GREEN, (0.5, YELLOW), (10, RED)),
            width=3,
            decimals=0,
        ),
        number(
            "Digest errors, 24 h",
            (
                "Bytes that arrived other than they were sent: a NIC, a cable, a switch, or the target's memory. Each"
                " costs the session. Must be 0. Without digests configured such errors are not seen."
            ),
            "none",
            f"sum(increase(nbdgw_iscsi_digest_errors_total{{{F}}}[24h]))",
            (GREEN, (0.5, RED)),
            width=3,
            decimals=0,
        ),
        number(
            "Late answers, 24 h",
            (
                "Answers to commands that had been given up; ignored. Many: timeouts.command is too "
                "short for this target."
            ),
            "none",
            f"sum(increase(nbdgw_iscsi_late_answers_total{{{F}}}[24h]))",
            (GREEN, (100, YELLOW)),
            width=3,
            decimals=0,
        ),
    )


def _sessions():
    return row(
        "Sessions and connections",
        states(
            "Logged in", "When each session was logged in.", query(f"nbdgw_iscsi_session_up{{{F}}}", WHO), width=8
        ),
        states(
            "Connections",
            (
                "When each connection was in full feature phase. At error recovery level 0 the loss of one is the"
                " loss of the session: all gaps at once are a recovery, one gap alone is a connection that the target"
                " does not grant."
            ),
            query(f"nbdgw_iscsi_connection_up{{{F}}}", WHO + " cid {{cid}}"),
            width=8,
        ),
        lines(
            "Connections, and how many are wanted",
            "Fewer than wanted for minutes: the target grants fewer, or one of its portals cannot be reached.",
            "none",
            query(f"nbdgw_iscsi_connections{{{F}}}", WHO + " there"),
            query(f"nbdgw_iscsi_connections_wanted{{{F}}}", WHO + " wanted"),
            width=8,
            points=True,
        ),
        states(
            "State, where not logged in",
            (
                "logging in: connecting or in the login. failed: waits before the next try. "
                "logging out: the target asked for it, or we stop."
            ),
            query(f"nbdgw_iscsi_session_state{{{F},state!=\"logged_in\"}} == 1", WHO + " {{state}}"),
            width=8,
            good=0,
        ),
        lines(
            "Logins and losses",
            (
                "Logins by outcome, and sessions lost, per minute. Failures without a success: wrong "
                "address, CHAP, access list, or the target is down; the reason is in nbdgw ctl sessions."
            ),
            "cpm",
            query(
                f"60 * sum by (instance, session, outcome) (rate(nbdgw_iscsi_logins_total{{{F}}}[{RATE}]))",
                WHO + " login {{outcome}}",
            ),
            query(f"60 * rate(nbdgw_iscsi_session_losses_total{{{F}}}[{RATE}])", WHO + " lost"),
            width=8,
        ),
        lines(
            "Keepalive",
            (
                "Pings (NOP-Out) sent to silent connections, and those not answered in time, each of which cost "
                "the session. Pings on an idle session are normal; timeouts never are."
            ),
            "cpm",
            query(f"60 * rate(nbdgw_iscsi_pings_total{{{F}}}[{RATE}])", WHO + " pings"),
            query(f"60 * rate(nbdgw_iscsi_ping_timeouts_total{{{F}}}[{RATE}])", WHO + " not answered"),
            width=8,
        ),
        lines(
            "Down for",
            (
                "How long a session has not been logged in, whatever it tries; from the start for one that never was. "
                "At timeouts.replacement (120 s unless configured) the requests of its exports fail."
            ),
            "s",
            query(f"nbdgw_iscsi_session_down_seconds{{{F}}} > 0", WHO),
            width=24,
            points=True,
        ),
    )


def _wire():
    return row(
        "Traffic and window",
        lines(
            "Bytes by connection",
            (
                "Sent and received, headers included. Connections of a session should carry about the "
                "same; one that carries little is on a slower path."
            ),
            "Bps",
            query(f"rate(nbdgw_iscsi_sent_bytes_total{{{F}}}[{RATE}])", WHO + " cid {{cid}} sent"),
            query(f"rate(nbdgw_iscsi_received_bytes_total{{{F}}}[{RATE}])", WHO + " cid {{cid}} received"),
            width=8,
        ),
        lines(
            "Command window",
            (
                "How many commands the target would take now. Near 0 under load: it limits the queue depth of all"
                " LUNs together. At 0 and no traffic: it is stuck; after timeouts.command the gateway drops the"
                " session."
            ),
            "none",
            query(f"nbdgw_iscsi_window{{{F}}}", WHO),
            width=8,
        ),
        lines(
            "Stops at a closed window",
            (
                "Times per second that commands had to wait for the window. Steady: the target's "
                "queue (in LIO default_cmdsn_depth) is the bottleneck."
            ),
            "ops",
            query(f"rate(nbdgw_iscsi_window_closed_total{{{F}}}[{RATE}])", WHO),
            width=8,
        ),
        lines(
            "PDUs sent",
            "By opcode. Task management requests are the ladder at work.",
            "ops",
            query(
                f"sum by (instance, session, opcode) (rate(nbdgw_iscsi_pdus_sent_total{{{F}}}[{RATE}]))",
                WHO + " {{opcode}}",
            ),
            width=8,
        ),
        lines(
            "PDUs received",
            "By opcode. Many R2T: large writes, or ImmediateData refused.",
            "ops",
            query(
                f"sum by (instance, session, opcode) (rate(nbdgw_iscsi_pdus_received_total{{{F}}}[{RATE}]))",
                WHO + " {{opcode}}",
            ),
            width=8,
        ),
        lines(
            "What should not be",
            (
                "Digest errors, Reject PDUs, asynchronous messages and late answers, per minute. Digest errors:"
                " hardware. Rejects: the target and we do not understand each other. Asynchronous messages: the"
                " target asks for a logout or changes something. Late answers: timeouts.command is short."
            ),
            "cpm",
            query(f"60 * rate(nbdgw_iscsi_digest_errors_total{{{F}}}[{RATE}])", WHO + " digest errors"),
            query(f"60 * rate(nbdgw_iscsi_rejects_total{{{F}}}[{RATE}])", WHO + " rejects"),
            query(f"60 * rate(nbdgw_iscsi_async_messages_total{{{F}}}[{RATE}])", WHO + " asynchronous messages"),
            query(f"60 * rate(nbdgw_iscsi_late_answers_total{{{F}}}[{RATE}])", WHO + " late answers"),
            width=8,
        ),
    )


def _scsi():
    bucket = f"rate(nbdgw_scsi_task_duration_seconds_bucket{{{F}}}[{RATE}])"
    return row(
        "SCSI",
        lines(
            "Commands by opcode",
            "Commands sent, retries included.",
            "ops",
            query(
                f"sum by (instance, session, opcode) (rate(nbdgw_scsi_tasks_total{{{F}}}[{RATE}]))",
                WHO + " {{opcode}}",
            ),
            width=8,
        ),
        lines(
            "Status other than GOOD",
            (
                "CHECK CONDITION: see the sense keys. BUSY and TASK SET FULL: the target is "
                "overloaded. RESERVATION CONFLICT: another host holds a reservation; clients get NBD_EPERM."
            ),
            "ops",
            query(
                f"sum by (instance, session, status) (rate(nbdgw_scsi_status_total{{{F},status!=\"good\"}}[{RATE}]))",
                WHO + " {{status}}",
            ),
            width=8,
        ),
        lines(
            "Sense keys",
            (
                "Of CHECK CONDITION. medium_error and hardware_error: a broken disk in the target. not_ready: a LUN"
                " that starts, or fails over. unit_attention: absorbed. data_protect: write protected, or a full"
                " pool."
            ),
            "ops",
            query(
                f"sum by (instance, session, sense_key) (rate(nbdgw_scsi_sense_total{{{F}}}[{RATE}]))",
                WHO + " {{sense_key}}",
            ),
            width=8,
        ),
        lines(
            "Task latency",
            (
                "From a command being given to a connection to its end: the target and the network alone, without our"
                " queues. NBD latency far above this: requests wait here, for the window, queue depth or a path."
            ),
            "s",
            *(
                query(f"histogram_quantile({q}, sum by (instance, session, le) ({bucket}))", f"{WHO} {name}")
                for q, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
            ),
        ),
        heatmap(
            "Task latency, distribution",
            (
                "How many commands took how long. A band at timeouts.command (15 s unless "
                "configured) is commands that were never answered."
            ),
            "s",
            f"sum by (le) (increase(nbdgw_scsi_task_duration_seconds_bucket{{{F}}}[{RATE}]))",
        ),
    )


def _ladder():
    bucket = f"rate(nbdgw_recovery_duration_seconds_bucket{{{F},rung=~\"%s\"}}[$__range])"
    return row(
        "Recovery",
        lines(
            "Rungs climbed",
            (
                "By rung, per minute. timeout: a command was not answered. abort_task ends one command, lu_reset"
                " those of a LUN, target_warm_reset those of the target (other hosts' too), session_reset drops all"
                " connections, relogin is the session's return."
            ),
            "cpm",
            query(
                f"60 * sum by (instance, session, rung) (rate(nbdgw_recovery_rungs_total{{{F}}}[{RATE}]))",
                WHO + " {{rung}}",
            ),
            width=8,
        ),
        lines(
            "Rungs by outcome",
            (
                "not_found and refused make the ladder climb one rung; timed_out drops the session at once; "
                "failed: the session was lost meanwhile. A target that often says anything but success has poor task "
                "management."
            ),
            "cpm",
            query(
                f"60 * sum by (instance, session, outcome) (rate(nbdgw_recovery_rungs_total{{{F}}}[{RATE}]))",
                WHO + " {{outcome}}",
            ),
            width=8,
        ),
        lines(
            "Commands timed out",
            "Commands that were not answered within timeouts.command and a ping's time, per minute.",
            "cpm",
            query(f"60 * rate(nbdgw_recovery_commands_timed_out_total{{{F}}}[{RATE}])", WHO),
            width=8,
        ),
        states(
            "Being climbed",
            "When which rung was being climbed.",
            query(f"max by (instance, session, rung) (nbdgw_recovery_active{{{F}}}) == 1", WHO + " {{rung}}"),
            width=8,
            good=0,
        ),
        lines(
            "Outages",
            (
                "How long sessions were away (relogin), 95th percentile of the time range shown. Clients see each "
                "as a pause. Above timeouts.replacement (120 s unless configured) they saw errors."
            ),
            "s",
            query(f"histogram_quantile(0.95, sum by (instance, session, le) ({bucket % 'relogin'}))", WHO),
            width=8,
        ),
        lines(
            "Duration of rungs",
            (
                "How long aborts and resets took, 95th percentile of the time range shown. Near the timeouts (abort"
                " 10 s, lu_reset 15 s, target_reset 30 s unless configured): the target hardly answers."
            ),
            "s",
            query(
                (
                    "histogram_quantile(0.95, sum by (instance, session, rung, le) "
                    f"({bucket % 'abort_task|lu_reset|target_warm_reset'}))"
                ),
                WHO + " {{rung}}",
            ),
            width=8,
        ),
    )


def dashboard():
    return make(
        "nbdgw-session",
        "nbdgw / Session and recovery",
        "iSCSI sessions: connections, window, SCSI, and what the escalation ladder does.",
        [
            variable("instance", "Gateway", "nbdgw_build_info"),
            variable("session", "Session", 'nbdgw_iscsi_session_up{instance=~"$instance"}'),
        ],
        [_now(), _sessions(), _wire(), _scsi(), _ladder()],
        MARKS,
    )
