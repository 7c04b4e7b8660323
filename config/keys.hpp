#pragma once

#include <array>
#include <span>
#include <string_view>

/// Every key that a configuration file may have. The parser refuses all others, and a test holds this list against
/// config/nbdgw.schema.json.
namespace nbdgw::config::keys {

using Key = std::string_view;

inline constexpr std::array<Key, 9> kTop{"listen",    "admin",     "limits",  "workers", "log",
                                         "state_dir", "initiator", "targets", "exports"};
inline constexpr std::array<Key, 2> kListen{"nbd", "admin"};
inline constexpr std::array<Key, 2> kAdmin{"token_file", "tls"};
inline constexpr std::array<Key, 3> kAdminTls{"certificate_file", "key_file", "client_ca_file"};
inline constexpr std::array<Key, 5> kLimits{"connections", "handshake_timeout", "in_flight_per_connection", "memory",
                                            "stall_timeout"};
inline constexpr std::array<Key, 2> kLog{"level", "format"};
inline constexpr std::array<Key, 1> kInitiator{"name"};
inline constexpr std::array<Key, 22> kTarget{"name",
                                             "iqn",
                                             "portals",
                                             "connections",
                                             "header_digest",
                                             "data_digest",
                                             "auth",
                                             "immediate_data",
                                             "initial_r2t",
                                             "first_burst",
                                             "max_burst",
                                             "max_recv_data_segment",
                                             "queue_depth",
                                             "retries",
                                             "fast_abort",
                                             "after_reinstatement",
                                             "other_group",
                                             "after_silence",
                                             "time2wait",
                                             "on_path_loss",
                                             "power_on_attention",
                                             "timeouts"};
inline constexpr std::array<Key, 1> kAuth{"chap"};
inline constexpr std::array<Key, 4> kChap{"user", "secret_file", "mutual", "algorithms"};
inline constexpr std::array<Key, 2> kMutual{"user", "secret_file"};
inline constexpr std::array<Key, 10> kTimeouts{"command",      "slow_command", "abort", "lu_reset", "target_reset",
                                               "nop_interval", "nop_timeout",  "login", "logout",   "replacement"};
inline constexpr std::array<Key, 7> kExport{"name",      "target",   "lun",      "description",
                                            "read_only", "required", "same_disk"};

struct Mapping {
  std::string_view path;  // "" for the file itself; "[]" stands for every element of a list
  std::span<const Key> keys;
};

inline constexpr std::array<Mapping, 13> kAll{{
    {"", kTop},
    {"listen", kListen},
    {"admin", kAdmin},
    {"admin.tls", kAdminTls},
    {"limits", kLimits},
    {"log", kLog},
    {"initiator", kInitiator},
    {"targets[]", kTarget},
    {"targets[].auth", kAuth},
    {"targets[].auth.chap", kChap},
    {"targets[].auth.chap.mutual", kMutual},
    {"targets[].timeouts", kTimeouts},
    {"exports[]", kExport},
}};

}  // namespace nbdgw::config::keys
