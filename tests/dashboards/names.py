"""The values that labels take, for those that queries ask for by value."""

RUNGS = {"timeout", "abort_task", "abort_task_set", "clear_task_set", "lu_reset", "target_warm_reset",
         "target_cold_reset", "session_reset", "relogin"}

# By label, or by metric and label where the label means different things.
VALUES = {
    "job": {"nbdgw"},
    "command": {"read", "write", "disc", "flush", "trim", "cache", "write_zeroes", "block_status", "resize",
                "other"},
    "error": {"NBD_EPERM", "NBD_EIO", "NBD_ENOMEM", "NBD_EINVAL", "NBD_ENOSPC", "NBD_EOVERFLOW", "NBD_ENOTSUP",
              "NBD_ESHUTDOWN", "other"},
    "level": {"trace", "debug", "info", "warn", "error"},
    "rung": RUNGS,
    ("nbdgw_nbd_turned_away_total", "reason"): {"connection_limit", "descriptors"},
    ("nbdgw_scsi_retries_total", "reason"): {"at_once", "delayed", "session_lost"},
    ("nbdgw_export_state", "state"): {"offline", "probing", "online", "refused"},
    ("nbdgw_export_admin_state", "state"): {"ready", "drain", "maint"},
    ("nbdgw_iscsi_session_state", "state"): {"free", "logging_in", "logged_in", "failed", "logging_out",
                                             "terminated"},
    ("nbdgw_iscsi_logins_total", "outcome"): {"success", "failure"},
    ("nbdgw_config_reloads_total", "outcome"): {"success", "failure"},
    ("nbdgw_admin_refused_total", "reason"): {"tls", "no_token", "wrong_token", "bad_host"},
    ("nbdgw_admin_changes_total", "outcome"): {"accepted", "refused", "dry_run"},
    ("nbdgw_recovery_rungs_total", "outcome"): {"success", "not_found", "refused", "timed_out", "failed"},
    ("nbdgw_scsi_status_total", "status"): {"good", "check_condition", "condition_met", "busy",
                                            "reservation_conflict", "task_set_full", "aca_active", "task_aborted",
                                            "other"},
}
