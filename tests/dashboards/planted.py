"""Mistakes that the lint must find, and right things that it must not complain about: who watches the watchman."""
import promql

WRONG = {
    "a metric that does not exist": "nbdgw_nbd_helt",
    "a label that the metric does not have": 'nbdgw_nbd_held{session="a"}',
    "a label that nothing has": 'nbdgw_nbd_held{exprot="a"}',
    "a value that the label never has": 'nbdgw_export_state{state="away"} == 1',
    "a value in a pattern that the label never has": 'nbdgw_export_admin_state{state=~"drain|maintenance"}',
    "a counter as it is": "sum(nbdgw_nbd_errors_total)",
    "a counter against a number": "nbdgw_export_flush_failures_total > 0",
    "rate of a gauge": "rate(nbdgw_nbd_held[5m])",
    "rate without a range": "rate(nbdgw_nbd_errors_total)",
    "a histogram without a suffix": "rate(nbdgw_nbd_request_duration_seconds[5m])",
    "a suffix that histograms do not have": "rate(nbdgw_nbd_request_duration_seconds_total[5m])",
    "a suffix on what is no histogram": "rate(nbdgw_nbd_errors_total_bucket[5m])",
    "a quantile without le": "histogram_quantile(0.9, sum (rate(nbdgw_nbd_request_duration_seconds_bucket[5m])))",
    "a quantile of the sum": "histogram_quantile(0.9, rate(nbdgw_nbd_request_duration_seconds_sum[5m]))",
    "a bucket that does not exist": 'rate(nbdgw_nbd_request_duration_seconds_bucket{le="0.2"}[5m])',
    "grouping by a label that is not there": "sum by (session) (nbdgw_nbd_held)",
    "grouping without a label that is not there": "sum without (session) (nbdgw_nbd_held)",
    "a label that an inner sum has taken away": "sum by (export) (sum by (instance) (nbdgw_nbd_held))",
    "sides that cannot match": "nbdgw_nbd_held / nbdgw_ready",
    "sides that cannot match, with on": "nbdgw_nbd_held and on (session) nbdgw_iscsi_session_up == 1",
    "sides that cannot match in an alert": "nbdgw_nbd_held > 0 and nbdgw_iscsi_session_up == 0",
    "a range as the result": "nbdgw_nbd_held[5m]",
    "a bracket too few": "sum(nbdgw_nbd_held",
    "a bracket too many": "sum(nbdgw_nbd_held))",
    "an operator without its right side": "nbdgw_nbd_held >",
    "a function that does not exist": "rates(nbdgw_nbd_errors_total[5m])",
    "a matcher without quotes": "nbdgw_nbd_held{export=vol0}",
    "what is no PromQL": "nbdgw_nbd_held ; drop",
    "the average of a counter": "avg_over_time(nbdgw_nbd_errors_total[5m])",
    "a name of a rule that does not exist": "nbdgw:nbd_errors:rate99m",
}

RIGHT = {
    "nbdgw_nbd_held > 0 and on (instance, export) nbdgw_export_up == 0": {"instance", "job", "export"},
    "sum without (error) (rate(nbdgw_nbd_errors_total[5m]))": {"instance", "job", "export"},
    "histogram_quantile(0.9, sum by (le, command) (rate(nbdgw_nbd_request_duration_seconds_bucket[5m])))": {
        "command"},
    "nbdgw_nbd_held * on (instance) group_left (version) nbdgw_build_info": {"instance", "job", "export", "version"},
    "- 2 ^ 3 * sum(nbdgw_nbd_held) or vector(0)": set(),
    'absent(up{job="nbdgw"})': {"job"},
    "time() - process_start_time_seconds  # a remark": {"instance", "job"},
    "max_over_time((sum(nbdgw_nbd_held) > 0)[1h:1m])": set(),
    "nbdgw_iscsi_connections_wanted - nbdgw_iscsi_connections > 0": {"instance", "job", "session"},
    "sum(nbdgw_nbd_held) by (export)": {"export"},
    'rate(nbdgw_nbd_request_duration_seconds_bucket{le="0.1"}[1h30m] offset 5m)': {
        "instance", "job", "export", "command", "le"},
}


def check(names):
    for what, expr in WRONG.items():
        try:
            promql.check(expr, names)
            yield f"the lint finds {what}", [f"it found nothing wrong with {expr}"]
        except promql.Mistake:
            yield f"the lint finds {what}", []
    for expr, labels in RIGHT.items():
        try:
            found, _ = promql.check(expr, names)
            right = found == labels
            yield f"the lint takes {expr}", [] if right else [f"labels {sorted(found)}, not {sorted(labels)}"]
        except promql.Mistake as mistake:
            yield f"the lint takes {expr}", [str(mistake)]
