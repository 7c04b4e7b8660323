"""All gateways at once: is anything wrong, and where."""
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
    table,
)
from build import variable

I = 'instance=~"$instance"'
RATE = "$__rate_interval"

MARKS = {
    "Gateway started": (
        BLUE,
        f"changes(process_start_time_seconds{{{I}}}[1m]) > 0 and on (job, instance) nbdgw_build_info",
        "{{instance}}",
    ),
    "Flush failed": (RED, f"increase(nbdgw_export_flush_failures_total{{{I}}}[1m]) > 0", "{{instance}} {{export}}"),
    "Session lost": (
        ORANGE,
        f"increase(nbdgw_iscsi_session_losses_total{{{I}}}[1m]) > 0",
        "{{instance}} {{session}}",
    ),
}


def _glance():
    return row(
        "At a glance",
        number(
            "Gateways",
            (
                "Gateways that answered the last scrape. Fewer than you run: see NbdgwDown; their clients have "
                "lost their disks."
            ),
            "none",
            f"count(nbdgw_build_info{{{I}}})",
            (RED, (1, GREEN)),
            width=3,
        ),
        number(
            "Exports not online",
            (
                "Exports without a usable path to their LUN. Requests to them are held for timeouts.replacement (120"
                " s unless configured), then they fail. Anything but 0 is bad, unless the export is meant to be away."
            ),
            "none",
            f"count(nbdgw_export_up{{{I}}} == 0) or vector(0)",
            (GREEN, (1, RED)),
            width=3,
        ),
        number(
            "Sessions not logged in",
            (
                "iSCSI sessions that are down now. The gateway logs in again by itself, with "
                "pauses of up to 5 s; all exports of such a target are offline meanwhile."
            ),
            "none",
            f"count(nbdgw_iscsi_session_up{{{I}}} == 0) or vector(0)",
            (GREEN, (1, RED)),
            width=3,
        ),
        number(
            "Requests held",
            (
                "NBD requests that wait for a path to their LUN. Clients see a pause; clients with a "
                "timeout of their own (nbd-client -timeout) give up when it is over."
            ),
            "none",
            f"sum(nbdgw_nbd_held{{{I}}})",
            (GREEN, (1, ORANGE), (100, RED)),
            width=3,
        ),
        number(
            "Oldest request",
            (
                "Age of the oldest NBD request that is not answered, over all exports. Above 30 s Linux "
                "clients log \"Possible stuck request\", and those with -timeout 30 drop their connection."
            ),
            "s",
            f"max(nbdgw_nbd_oldest_request_seconds{{{I}}})",
            (GREEN, (5, YELLOW), (30, RED)),
            width=3,
        ),
        number(
            "Flush failures, 24 h",
            (
                "FLUSH and FUA requests that failed because acknowledged writes may be lost: each "
                "one is possible loss of data, told to the client. Must be 0."
            ),
            "none",
            f"sum(increase(nbdgw_export_flush_failures_total{{{I}}}[24h]))",
            (GREEN, (0.5, RED)),
            width=3,
            decimals=0,
        ),
        number(
            "Error replies, 1 h",
            (
                "NBD error replies of any kind. A client's filesystem usually goes read-only at its "
                "first I/O error, so a few are already worth a look."
            ),
            "none",
            f"sum(increase(nbdgw_nbd_errors_total{{{I}}}[1h]))",
            (GREEN, (0.5, YELLOW), (100, RED)),
            width=3,
            decimals=0,
        ),
        number(
            "Rungs being climbed",
            (
                "Sessions in which the escalation ladder (abort, LUN reset, target reset, session "
                "reset) is at work at this moment. More than a few seconds of it is a target in trouble."
            ),
            "none",
            f"sum(nbdgw_recovery_active{{{I}}})",
            (GREEN, (1, ORANGE)),
            width=3,
        ),
    )


def _traffic():
    return row(
        "Traffic",
        lines(
            "Requests by command",
            (
                "NBD requests taken, by command, over the chosen gateways. A sudden zero while clients "
                "are attached means that they wait: look at requests held and in flight."
            ),
            "reqps",
            query(f"sum by (command) (rate(nbdgw_nbd_requests_total{{{I}}}[{RATE}]))", "{{command}}"),
            stack=True,
        ),
        lines(
            "Throughput",
            "Payload of READ and WRITE. Compare with what the network to the target can carry.",
            "Bps",
            query(f"sum(rate(nbdgw_nbd_read_bytes_total{{{I}}}[{RATE}]))", "read"),
            query(f"sum(rate(nbdgw_nbd_written_bytes_total{{{I}}}[{RATE}]))", "written"),
        ),
        lines(
            "Busiest exports",
            "The ten exports with the most requests: who makes the load.",
            "reqps",
            query(
                f"topk(10, sum by (instance, export) (rate(nbdgw_nbd_requests_total{{{I}}}[{RATE}])))",
                "{{instance}} {{export}}",
            ),
        ),
        lines(
            "Error replies by error",
            (
                "NBD error replies by the protocol's name of the error. NBD_EIO: the target failed or was away for"
                " too long. NBD_ENOSPC: a thin pool is full. NBD_EPERM: write protected or reserved by another host."
                " NBD_EINVAL: the client's mistake. Normally none."
            ),
            "reqps",
            query(f"sum by (error) (rate(nbdgw_nbd_errors_total{{{I}}}[{RATE}]))", "{{error}}"),
        ),
    )


def _latency():
    quantile = (
        "histogram_quantile({}, sum by (le)"
        " (rate(nbdgw_nbd_request_duration_seconds_bucket{{{},command=\"{}\"}}[{}])))"
    )
    slowest = (
        "topk(10, histogram_quantile(0.99, sum by (instance, export, le) "
        f"(rate(nbdgw_nbd_request_duration_seconds_bucket{{{I},command=~\"read|write\"}}[{RATE}]))))"
    )
    return row(
        "Latency",
        lines(
            "Reads and writes",
            (
                "From the header of a request to its reply being ready, time held included. The median tells of the"
                " target and its network, the 99th percentile of queues and recovery. What is still in flight is not"
                " in it: see the oldest request."
            ),
            "s",
            *(
                query(quantile.format(q, I, command, RATE), f"{command} {name}")
                for command in ("read", "write")
                for q, name in ((0.5, "p50"), (0.99, "p99"))
            ),
        ),
        heatmap(
            "Reads and writes, distribution",
            (
                "How many READ and WRITE requests took how long. A second band above "
                "the usual one is a part of the requests that waits for something: retries, a slow LUN, one export."
            ),
            "s",
            (
                "sum by (le)"
                f" (increase(nbdgw_nbd_request_duration_seconds_bucket{{{I},command=~\"read|write\"}}[{RATE}]))"
            ),
        ),
        lines(
            "Slowest exports, p99",
            (
                "The ten exports with the highest 99th percentile of READ and WRITE. One export "
                "alone: its LUN. All of a target: the target or the network to it. All: this machine."
            ),
            "s",
            query(slowest, "{{instance}} {{export}}"),
        ),
        lines(
            "Requests outside the objective",
            (
                "Share of READ and WRITE requests slower than 100 ms, over 1 h and 6 h; the "
                "objective allows 0.1 %. Comes from the recording rules of dashboards/prometheus; empty without them."
            ),
            "percentunit",
            query(f"max(nbdgw:nbd_slow_requests:ratio_rate1h{{{I}}})", "worst export, 1 h"),
            query(f"max(nbdgw:nbd_slow_requests:ratio_rate6h{{{I}}})", "worst export, 6 h"),
            steps=(GREEN, (0.001, RED)),
        ),
    )


def _waiting():
    return row(
        "In flight and held",
        lines(
            "In flight and held",
            (
                "Requests taken and not answered, and those of them that wait for a path. In flight "
                "without end and no throughput: something hangs. Held: no path to a LUN."
            ),
            "none",
            query(f"sum by (instance) (nbdgw_nbd_in_flight{{{I}}})", "{{instance}} in flight"),
            query(f"sum by (instance) (nbdgw_nbd_held{{{I}}})", "{{instance}} held"),
        ),
        lines(
            "Paths down",
            (
                "For how long each export has had no path to its LUN. At timeouts.replacement (120 s unless "
                "configured; the dashed line) held requests begin to fail with I/O errors."
            ),
            "s",
            query(f"nbdgw_export_path_down_seconds{{{I}}} > 0", "{{instance}} {{export}}"),
            steps=(GREEN, (120, RED)),
        ),
        states(
            "Sessions",
            "When each session was logged in. Short gaps are recoveries that clients saw as a pause.",
            query(f"nbdgw_iscsi_session_up{{{I}}}", "{{instance}} {{session}}"),
        ),
        lines(
            "Lost paths and recovery",
            (
                "Sessions lost, commands that were not answered in time, and rungs of the ladder "
                "climbed, per minute. Each should be rare: dozens a day are a target or a network to be repaired."
            ),
            "cpm",
            query(f"60 * sum(rate(nbdgw_iscsi_session_losses_total{{{I}}}[{RATE}]))", "sessions lost"),
            query(f"60 * sum(rate(nbdgw_recovery_commands_timed_out_total{{{I}}}[{RATE}]))", "commands timed out"),
            query(f"60 * sum(rate(nbdgw_recovery_rungs_total{{{I}}}[{RATE}]))", "rungs"),
        ),
    )


def _clients():
    return row(
        "Clients",
        lines(
            "Attached",
            (
                "NBD clients attached, and those in the handshake. Many in the handshake for long are no NBD "
                "clients, or cannot get through."
            ),
            "none",
            query(f"sum by (instance) (nbdgw_nbd_connections{{{I}}})", "{{instance}} attached"),
            query(f"nbdgw_nbd_handshakes{{{I}}}", "{{instance}} handshake"),
            width=8,
        ),
        lines(
            "Coming and going",
            (
                "Clients accepted, ended by reason, and turned away, per minute. connection_lost: the client vanished"
                " or its network failed; peer_dead: its host answers nothing any more; disc: in good order. Turned away: limits.connections or the limit of open"
                " files is reached."
            ),
            "cpm",
            query(f"60 * sum(rate(nbdgw_nbd_accepted_total{{{I}}}[{RATE}]))", "accepted"),
            query(f"60 * sum by (reason) (rate(nbdgw_nbd_closed_total{{{I}}}[{RATE}]))", "ended: {{reason}}"),
            query(
                f"60 * sum by (reason) (rate(nbdgw_nbd_turned_away_total{{{I}}}[{RATE}]))", "turned away: {{reason}}"
            ),
            width=8,
        ),
        lines(
            "Waiting for room",
            (
                "Times per second that a client was not read from, because payload memory or its "
                "in-flight limit was used up. Some is normal under full load; with memory at its budget, give more "
                "(limits.memory)."
            ),
            "ops",
            query(f"sum by (instance) (rate(nbdgw_nbd_memory_stalls_total{{{I}}}[{RATE}]))", "{{instance}} memory"),
            query(
                f"sum by (instance) (rate(nbdgw_nbd_in_flight_stops_total{{{I}}}[{RATE}]))", "{{instance}} in flight"
            ),
            width=8,
        ),
    )


def _process():
    return row(
        "The process",
        lines(
            "Payload memory",
            (
                "Used part of each shard's budget. At 100 % clients are read no further until there is room; "
                "nothing fails, but it costs throughput."
            ),
            "percentunit",
            query(
                f"nbdgw_memory_used_bytes{{{I}}} / nbdgw_memory_limit_bytes{{{I}}}", "{{instance}} shard {{shard}}"
            ),
            width=8,
            most=1,
            steps=(GREEN, (0.9, RED)),
        ),
        lines(
            "CPU",
            "Processor time by gateway, in cores. At one core for each shard the gateway itself is the limit.",
            "none",
            query(
                f"rate(process_cpu_seconds_total{{{I}}}[{RATE}]) and on (job, instance) nbdgw_build_info",
                "{{instance}}",
            ),
            width=8,
        ),
        lines(
            "Resident memory",
            "The payload budget and a few MiB. Growth without an end is a mistake of ours: tell us.",
            "bytes",
            query(f"process_resident_memory_bytes{{{I}}} and on (job, instance) nbdgw_build_info", "{{instance}}"),
            width=8,
        ),
        lines(
            "File descriptors",
            (
                "Used part of the open files that the system allows. At 100 % no client can attach and no "
                "session can log in again: raise LimitNOFILE=."
            ),
            "percentunit",
            query(
                f"process_open_fds{{{I}}} / process_max_fds{{{I}}} and on (job, instance) nbdgw_build_info",
                "{{instance}}",
            ),
            width=8,
            most=1,
            steps=(GREEN, (0.9, RED)),
        ),
        lines(
            "Log messages",
            (
                "Warnings and errors per minute, and messages that were dropped as nothing read them in time. Read "
                "them: nbdgw ctl events, and the journal."
            ),
            "cpm",
            query(
                (
                    "60 * sum by (instance, level)"
                    f" (rate(nbdgw_log_messages_total{{{I},level=~\"warn|error\"}}[{RATE}]))"
                ),
                "{{instance}} {{level}}",
            ),
            query(
                f"60 * sum by (instance) (rate(nbdgw_log_dropped_total{{{I}}}[{RATE}]))", "{{instance}} dropped"
            ),
            width=8,
        ),
        lines(
            "Admin API",
            (
                "HTTP requests answered, by status, scrapes included, and changes asked for, by verb. A change "
                "that nobody here knows of is worth a question. wrong_token: somebody has one, and the log says from "
                "where."
            ),
            "reqps",
            query(f"sum by (code) (rate(nbdgw_admin_requests_total{{{I}}}[{RATE}]))", "HTTP {{code}}"),
            query(
                f"sum by (verb, outcome) (rate(nbdgw_admin_changes_total{{{I}}}[{RATE}]))", "{{verb}}: {{outcome}}"
            ),
            query(f"sum by (reason) (rate(nbdgw_admin_refused_total{{{I}}}[{RATE}]))", "refused: {{reason}}"),
            width=8,
        ),
        lines(
            "Shards at work",
            (
                "Turns of each shard's loop per second. A shard that does not turn while its clients wait is "
                "stuck: /livez fails then. Many turns with few requests in each: the load has little depth."
            ),
            "ops",
            query(f"rate(nbdgw_shard_turns_total{{{I}}}[{RATE}])", "{{instance}} shard {{shard}}"),
            width=8,
        ),
        lines(
            "Threads and HTTP clients",
            (
                "Threads of the process, and HTTP clients connected to the admin API. Neither should "
                "grow for long: a monitor that does not close its connections uses up the admin server's places."
            ),
            "none",
            query(f"process_threads{{{I}}} and on (job, instance) nbdgw_build_info", "{{instance}} threads"),
            query(f"nbdgw_admin_connections{{{I}}}", "{{instance}} HTTP clients"),
            width=8,
        ),
        table(
            "Versions",
            "What is running where. More than one version for long: an upgrade that was not finished.",
            f"nbdgw_build_info{{{I}}}",
            {"instance": "Gateway", "version": "Version", "Value": "Running"},
            width=8,
        ),
        lines(
            "Up since",
            (
                "How long each gateway has been running. A saw-tooth is a crash loop; every restart costs every "
                "client its connection."
            ),
            "s",
            query(
                f"time() - process_start_time_seconds{{{I}}} and on (job, instance) nbdgw_build_info", "{{instance}}"
            ),
            width=8,
        ),
        states(
            "Ready and draining",
            (
                "ready: /readyz says so (required exports online, not draining). draining: an operator "
                "has stopped new clients; forgotten drains are found here."
            ),
            query(f"nbdgw_ready{{{I}}}", "{{instance}} ready"),
            query(f"nbdgw_draining{{{I}}}", "{{instance}} draining"),
            width=8,
        ),
        lines(
            "Age of the configuration",
            "How long the configuration in force has been so: since the last reload that went well, or the start.",
            "s",
            query(f"time() - nbdgw_config_last_reload_success_timestamp_seconds{{{I}}}", "{{instance}}"),
            width=8,
        ),
        lines(
            "Reloads, by the hour",
            (
                "Reloads of the configuration, by what came of them. A failure leaves everything as it was; as long "
                "as no later one goes well there is an alert."
            ),
            "none",
            query(
                f"sum by (instance, outcome) (increase(nbdgw_config_reloads_total{{{I}}}[1h]))",
                "{{instance}} {{outcome}}",
            ),
            width=8,
        ),
    )


def dashboard():
    return make(
        "nbdgw-overview",
        "nbdgw / Overview",
        "All gateways: what is wrong, what is busy, what is slow.",
        [variable("instance", "Gateway", "nbdgw_build_info")],
        [_glance(), _traffic(), _latency(), _waiting(), _clients(), _process()],
        MARKS,
    )
