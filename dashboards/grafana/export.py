"""One export, or some: traffic, latency, what waits, and whether its flushes are honest."""
from build import GREEN, ORANGE, RED, YELLOW, dashboard as make, heatmap, lines, number, query, row, states, variable

F = 'instance=~"$instance",export=~"$export"'
RATE = "$__rate_interval"
WHO = "{{instance}} {{export}}"

MARKS = {
    "Flush failed": (RED, f"increase(nbdgw_export_flush_failures_total{{{F}}}[1m]) > 0", WHO),
    "Cache may be lost": (ORANGE, f"increase(nbdgw_export_cache_loss_reports_total{{{F}}}[1m]) > 0", WHO),
}


def _now():
    return row(
        "Now",
        number(
            "Online now",
            (
                "Chosen exports that are online, of those that there are. Red: some have no usable path; their "
                "requests are held, then fail."
            ),
            "percentunit",
            f"avg(nbdgw_export_up{{{F}}})",
            (RED, (1, GREEN)),
            width=3,
        ),
        number(
            "Path down for",
            (
                "Longest time that a chosen export has been without a path to its LUN; 0 is good. At "
                "timeouts.replacement (120 s unless configured) held requests fail."
            ),
            "s",
            f"max(nbdgw_export_path_down_seconds{{{F}}})",
            (GREEN, (1, ORANGE), (60, RED)),
            width=3,
        ),
        number(
            "Held",
            "Requests that wait for the path to the LUN.",
            "none",
            f"sum(nbdgw_nbd_held{{{F}}})",
            (GREEN, (1, ORANGE), (100, RED)),
            width=3,
        ),
        number(
            "Oldest request",
            "Age of the oldest request not answered. Above 30 s clients with -timeout 30 give up.",
            "s",
            f"max(nbdgw_nbd_oldest_request_seconds{{{F}}})",
            (GREEN, (5, YELLOW), (30, RED)),
            width=3,
        ),
        number(
            "Clients now",
            "NBD connections attached. Linux with -connections N has N of them. None: nobody uses it.",
            "none",
            f"sum(nbdgw_nbd_connections{{{F}}})",
            (GREEN,),
            width=3,
        ),
        number(
            "Unflushed now",
            (
                "Acknowledged writes that are only in the LUN's volatile cache, which a power loss of "
                "the target would lose. It falls to 0 with each FLUSH; for ever growing: the client never flushes."
            ),
            "none",
            f"sum(nbdgw_export_unflushed_writes{{{F}}})",
            (GREEN,),
            width=3,
        ),
        number(
            "Flush failures, 24 h",
            (
                "FLUSH and FUA requests failed because acknowledged writes may be lost. Must be 0; "
                "else check the filesystem or database on the export."
            ),
            "none",
            f"sum(increase(nbdgw_export_flush_failures_total{{{F}}}[24h]))",
            (GREEN, (0.5, RED)),
            width=3,
            decimals=0,
        ),
        number(
            "Size",
            "Size of the chosen exports together, as clients see it. 0: not known yet.",
            "bytes",
            f"sum(nbdgw_export_size_bytes{{{F}}})",
            (GREEN,),
            width=3,
        ),
    )


def _traffic():
    return row(
        "Traffic",
        lines(
            "Requests by command",
            "NBD requests taken. Many small flushes cost more than the writes between them.",
            "reqps",
            query(
                f"sum by (instance, export, command) (rate(nbdgw_nbd_requests_total{{{F}}}[{RATE}]))",
                WHO + " {{command}}",
            ),
        ),
        lines(
            "Throughput",
            "Payload read and written.",
            "Bps",
            query(f"sum by (instance, export) (rate(nbdgw_nbd_read_bytes_total{{{F}}}[{RATE}]))", WHO + " read"),
            query(
                f"sum by (instance, export) (rate(nbdgw_nbd_written_bytes_total{{{F}}}[{RATE}]))", WHO + " written"
            ),
        ),
        lines(
            "Error replies",
            (
                "By the protocol's name of the error. NBD_EIO: the target failed or was away for too long;"
                " NBD_ENOSPC: its pool is full; NBD_EPERM: write protected or reserved; NBD_EINVAL: the client's"
                " mistake. Normally none."
            ),
            "reqps",
            query(
                f"sum by (instance, export, error) (rate(nbdgw_nbd_errors_total{{{F}}}[{RATE}]))", WHO + " {{error}}"
            ),
        ),
        lines(
            "Clients",
            (
                "Attached, and how many have attached per minute. Clients that come and go all the time run into "
                "a timeout, or into an error of theirs."
            ),
            "none",
            query(f"nbdgw_nbd_connections{{{F}}}", WHO + " attached"),
            query(f"60 * rate(nbdgw_nbd_connections_total{{{F}}}[{RATE}])", WHO + " new per minute"),
        ),
    )


def _latency():
    by_command = f"rate(nbdgw_nbd_request_duration_seconds_bucket{{{F},command=\"%s\"}}[{RATE}])"
    mean = (
        f"sum by (instance, export, command) (rate(nbdgw_nbd_request_duration_seconds_sum{{{F}}}[{RATE}])) / "
        f"(sum by (instance, export, command) (rate(nbdgw_nbd_request_duration_seconds_count{{{F}}}[{RATE}])) > 0)"
    )

    def quantiles(command):
        return [
            query(f"histogram_quantile({q}, sum by (instance, export, le) ({by_command % command}))", f"{WHO} {name}")
            for q, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
        ]

    return row(
        "Latency",
        lines(
            "Reads",
            (
                "From the header to the reply being ready, time held included. p99 far above p50: queues, retries or "
                "recovery. The largest bucket ends at 120 s."
            ),
            "s",
            *quantiles("read"),
            width=8,
        ),
        lines(
            "Writes",
            "The same for writes. Slower than reads without a flush in between: the target's cache is off or full.",
            "s",
            *quantiles("write"),
            width=8,
        ),
        lines(
            "Flushes",
            "How long a SYNCHRONIZE CACHE takes. It bounds the commits of every database on the export.",
            "s",
            *quantiles("flush"),
            width=8,
        ),
        heatmap(
            "Reads and writes, distribution",
            (
                "How many took how long. Two bands are two kinds of requests: cached and "
                "not, small and large, or one LUN of several."
            ),
            "s",
            (
                "sum by (le)"
                f" (increase(nbdgw_nbd_request_duration_seconds_bucket{{{F},command=~\"read|write\"}}[{RATE}]))"
            ),
        ),
        lines(
            "Mean by command",
            (
                "Averages, for comparison over weeks. TRIM and WRITE_ZEROES may cover gigabytes in one "
                "request and take seconds."
            ),
            "s",
            query(mean, WHO + " {{command}}"),
        ),
    )


def _waiting():
    return row(
        "In flight and held",
        lines(
            "In flight and held",
            "Taken and not answered, and those of them that wait for a path.",
            "none",
            query(f"nbdgw_nbd_in_flight{{{F}}}", WHO + " in flight"),
            query(f"nbdgw_nbd_held{{{F}}}", WHO + " held"),
            width=8,
        ),
        lines(
            "Oldest request and path",
            (
                "The age of the oldest request in flight, and for how long there has been no path. "
                "Rising together: held for the path. The age alone: a command hangs, the ladder is at work."
            ),
            "s",
            query(f"nbdgw_nbd_oldest_request_seconds{{{F}}}", WHO + " oldest request"),
            query(f"nbdgw_export_path_down_seconds{{{F}}}", WHO + " path down"),
            width=8,
            steps=(GREEN, (30, RED)),
        ),
        states(
            "Online",
            (
                "When the export was online. Gaps shorter than timeouts.replacement were pauses to the client, no "
                "errors."
            ),
            query(f"nbdgw_export_up{{{F}}}", WHO),
            width=8,
        ),
        states(
            "State",
            (
                "offline: no session, or the probe failed and is repeated. probing: the LUN is being looked at, "
                "for moments. refused: another disk or one that shrank; requests fail until it is put right."
            ),
            query(f"nbdgw_export_state{{{F},state!=\"online\"}} == 1", WHO + " {{state}}"),
            width=8,
            good=0,
        ),
        states(
            "Wanted by operators",
            "drain: no new clients. maint: those there are sent away, too. Forgotten ones are found here.",
            query(f"nbdgw_export_admin_state{{{F},state!=\"ready\"}} == 1", WHO + " {{state}}"),
            width=8,
            good=0,
        ),
        lines(
            "Given up and abandoned",
            (
                "Hold window over: requests failed because the path was away for timeouts.replacement; each is an"
                " outage that clients saw. Abandoned: the client left before the answer, as it does when its own"
                " timeout is over. Per minute; normally none."
            ),
            "cpm",
            query(f"60 * rate(nbdgw_export_hold_timeouts_total{{{F}}}[{RATE}])", WHO + " hold window over"),
            query(f"60 * rate(nbdgw_export_abandoned_total{{{F}}}[{RATE}])", WHO + " abandoned"),
            width=8,
        ),
        lines(
            "Waiting for room",
            (
                "Times per second that a client was not read from: payload memory used up, or its "
                "in-flight limit reached. Harmless under full load; costs throughput."
            ),
            "ops",
            query(f"rate(nbdgw_nbd_memory_stalls_total{{{F}}}[{RATE}])", WHO + " memory"),
            query(f"rate(nbdgw_nbd_in_flight_stops_total{{{F}}}[{RATE}])", WHO + " in flight"),
            width=8,
        ),
        lines(
            "Fence and read-modify-write",
            (
                "Writes that waited for one that they overlap, and blocks read because a write covered them only in"
                " part. Much of the second: the client writes in smaller blocks than the LUN has; attach with a block"
                " size of 4096."
            ),
            "ops",
            query(f"rate(nbdgw_export_fence_waits_total{{{F}}}[{RATE}])", WHO + " fence waits"),
            query(f"rate(nbdgw_export_read_modify_writes_total{{{F}}}[{RATE}])", WHO + " blocks read"),
            width=8,
        ),
    )


def _scsi():
    return row(
        "SCSI behind it",
        lines(
            "Tasks and queue depth",
            (
                "Tasks with the target, those of them that are held after a loss until there is a proof and take no depth,"
                " tasks that wait here, and how many may be with the LUN at once. A depth below"
                " targets[].queue_depth: the LUN said TASK SET FULL. Queued all the time: the LUN or the command"
                " window is the limit."
            ),
            "none",
            query(f"nbdgw_scsi_tasks_in_flight{{{F}}}", WHO + " with the target"),
            query(f"nbdgw_scsi_tasks_held{{{F}}}", WHO + " held"),
            query(f"nbdgw_scsi_tasks_queued{{{F}}}", WHO + " queued"),
            query(f"nbdgw_scsi_queue_depth{{{F}}}", WHO + " depth"),
            width=8,
        ),
        lines(
            "Retries by reason",
            (
                "Commands sent again. at_once and delayed: the target answered with an error that may "
                "pass, BUSY or a unit attention. session_lost: they came back when the session was lost."
            ),
            "ops",
            query(
                f"sum by (instance, export, reason) (rate(nbdgw_scsi_retries_total{{{F}}}[{RATE}]))",
                WHO + " {{reason}}",
            ),
            width=8,
        ),
        lines(
            "BUSY and TASK SET FULL",
            (
                "How often the LUN asked for fewer commands. The gateway lowers its queue depth and "
                "raises it again. Steady: too many hosts share the target, or it is too slow."
            ),
            "ops",
            query(f"rate(nbdgw_scsi_queue_full_total{{{F}}}[{RATE}])", WHO),
            width=8,
        ),
    )


def _honesty():
    return row(
        "Cache and flush honesty",
        lines(
            "Unflushed writes",
            (
                "Acknowledged writes that a power loss of the target would lose. FLUSH brings it to 0. "
                "Always 0: the LUN has no volatile cache, or the client uses FUA."
            ),
            "none",
            query(f"nbdgw_export_unflushed_writes{{{F}}}", WHO),
            width=8,
        ),
        lines(
            "Signs of a lost cache",
            (
                "Reports by the target that its volatile cache may be gone, per hour: power on, reset from outside,"
                " deferred errors, failed flushes. With unflushed writes the next FLUSH of each connection fails, once, so that the"
                " client knows."
            ),
            "none",
            query(f"increase(nbdgw_export_cache_loss_reports_total{{{F}}}[1h])", WHO + " reports"),
            query(f"increase(nbdgw_export_flush_failures_total{{{F}}}[1h])", WHO + " failed FLUSH or FUA"),
            width=8,
        ),
        lines(
            "Unit attentions",
            (
                "Absorbed by the gateway, per hour. Each login and each reset of ours raises some; without "
                "those, somebody else changes or resets the LUN."
            ),
            "none",
            query(f"increase(nbdgw_export_unit_attentions_total{{{F}}}[1h])", WHO),
            query(f"increase(nbdgw_export_identity_doubts_total{{{F}}}[1h])", WHO + " maybe another disk"),
            width=8,
        ),
    )


def dashboard():
    return make(
        "nbdgw-export",
        "nbdgw / Export",
        "Exports one by one: traffic, latency, what waits, and whether flushes are honest.",
        [
            variable("instance", "Gateway", "nbdgw_build_info"),
            variable("export", "Export", 'nbdgw_export_up{instance=~"$instance"}'),
        ],
        [_now(), _traffic(), _latency(), _waiting(), _scsi(), _honesty()],
        MARKS,
    )
