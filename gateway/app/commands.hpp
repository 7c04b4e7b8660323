#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "config/parse.hpp"
#include "gateway/app/exit_codes.hpp"
#include "gateway/app/lun_spec.hpp"
#include "proto/time.hpp"

/// The commands of the program, each in a file of its own. All return an exit code (exit_codes.hpp) and print reports
/// to standard output, trouble to standard error.
namespace nbdgw::app {

/// `nbdgw version`
int version_command();

/// `nbdgw check -c FILE`: reads a configuration as `serve` would, and prints what it comes to or all that is wrong.
int check_command(const std::string& config_file);

/// `nbdgw serve -c FILE`: the gateway, until SIGTERM or SIGINT; then every client finishes what is in flight. A
/// second signal ends it at once. `log_format`: instead of the configuration's.
int serve_command(const std::string& config_file, std::optional<config::LogFormat> log_format);

struct DiscoverOptions {
  std::string portal;          // HOST[:PORT]
  std::string initiator_name;  // iqn.
  std::string chap_user;       // empty: no CHAP
  std::string chap_secret_file;
};

/// `nbdgw discover PORTAL`: the targets that a portal knows (SendTargets).
int discover_command(const DiscoverOptions& options);

struct TargetCommandOptions {
  std::vector<std::string> listen{"127.0.0.1:3260"};  // HOST[:PORT]; each a portal group of its own
  std::vector<std::string> iqn;                       // the same disks under each
  std::vector<LunSpec> luns;                          // LUN 1, 2, ... in this order
  std::string chap_user;                              // empty: no CHAP
  std::string chap_secret_file;
  std::string mutual_user;  // empty: the target does not prove itself
  std::string mutual_secret_file;
  std::uint32_t max_connections = 8;  // of a session
  std::uint32_t queue_depth = 128;    // commands of a session
  bool initial_r2t = false;
  bool immediate_data = true;
  std::string control;  // numeric HOST:PORT or unix:///PATH of the fault control over HTTP; empty: none
  std::string log_level = "info";
  config::LogFormat log_format = config::LogFormat::automatic;
};

/// Reads TargetCommandOptions::control. Returns what is wrong with it; empty: nothing is.
std::string parse_control_address(const std::string& text, config::Endpoint& endpoint);

/// `nbdgw target`: the embedded iSCSI target, until SIGTERM or SIGINT.
int target_command(const TargetCommandOptions& options);

struct DemoOptions {
  bool once = false;
  std::string listen = "tcp://127.0.0.1:0";
  std::string admin = "http://127.0.0.1:0";  // of the admin server; on loopback or a UNIX socket
  std::uint64_t size = 256ULL << 20;         // bytes copied in and out
  config::LogFormat log_format = config::LogFormat::automatic;
};

/// `nbdgw demo`: an embedded target and a gateway in front of it, real data copied in and out through NBD and
/// compared.
int demo_command(const DemoOptions& options);

struct AttachOptions {
  std::string exported;
  std::vector<config::Endpoint> addresses;  // of gateways that have it; tried in turn
  std::optional<std::uint32_t> device;      // /dev/nbdN; none: the next free one
  proto::Micros hold = 0;                   // requests wait so long for a connection; kNever: as long as it takes
  proto::Micros resend = 0;                 // after another connection, at most
  proto::Micros wait = 0;                   // for a gateway that is not there yet
  proto::Micros give_up_after = 0;          // at the end, for a detach that hangs
  bool with_use = false;                    // detached when nobody uses it and the keeper is gone
  std::filesystem::path state_dir;
  std::string ready_file;  // empty: none
  config::LogFormat log_format = config::LogFormat::automatic;
};

/// `nbdgw attach`: a device of the kernel, kept connected until SIGTERM or SIGINT.
int attach_command(const AttachOptions& options);

struct DetachOptions {
  std::uint32_t device = 0;         // /dev/nbdN
  proto::Micros give_up_after = 0;  // for what hangs
  bool force = false;               // though it is mounted
  std::filesystem::path state_dir;
};

/// `nbdgw attach --detach`.
int detach_command(const DetachOptions& options);

/// `nbdgw attach --list`.
int list_attached_command(const std::filesystem::path& state_dir);

/// Reads a configuration and finds all that is wrong with it, or unwise.
config::ParseResult read_config(const std::string& config_file);
/// Reads a configuration and prints all that is wrong with it, or unwise, to standard error.
std::optional<config::Config> load_config(const std::string& config_file);

/// Reads a secret that the command line refers to. Prints what is wrong with it.
std::optional<std::string> load_secret(const std::string& path);

}  // namespace nbdgw::app
