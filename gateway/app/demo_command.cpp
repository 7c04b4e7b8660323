#include <fmt/core.h>

#include <chrono>

#include "config/address.hpp"
#include "config/units.hpp"
#include "gateway/admin/admin_server.hpp"
#include "gateway/app/commands.hpp"
#include "gateway/app/demo_data.hpp"
#include "gateway/app/demo_room.hpp"
#include "gateway/app/logging.hpp"
#include "gateway/app/nbdcopy.hpp"
#include "gateway/app/signals.hpp"
#include "gateway/control/gateway.hpp"
#include "gateway/iscsi_target/memory_medium.hpp"
#include "gateway/target_host/server.hpp"
#include "proto/assert.hpp"

namespace nbdgw::app {

namespace {

constexpr const char* kTargetName = "iqn.2026-11.io.nbdgw:demo-target";
constexpr const char* kInitiatorName = "iqn.2026-11.io.nbdgw:demo";
constexpr const char* kExportName = "demo";
constexpr std::uint16_t kLun = 1;

target_host::TargetServerOptions target_options(iscsi_target::Medium& medium) {
  target_host::TargetServerOptions options;
  options.port = 0;
  options.faults = true;  // for trials of recovery, over the admin API
  iscsi_target::TargetOptions target;
  target.name = kTargetName;
  iscsi_target::LunOptions& lun = target.luns.emplace_back();
  lun.number = kLun;
  lun.medium = &medium;
  options.target.targets.push_back(std::move(target));
  return options;
}

config::Config gateway_config(const DemoOptions& options, std::uint16_t target_port) {
  config::Config config;
  std::string wrong = config::parse_endpoint(options.listen, config.listen.nbd.emplace_back());
  NBDGW_ASSERT(wrong.empty(), "the command line has been checked");
  wrong = config::parse_admin_endpoint(options.admin, config.listen.admin.emplace_back());
  NBDGW_ASSERT(wrong.empty(), "the command line has been checked");
  config.initiator.name = kInitiatorName;
  config::Target& target = config.targets.emplace_back();
  target.name = "target";
  target.iqn = kTargetName;
  target.portals = {{"127.0.0.1", target_port}};
  config::Export& exported = config.exports.emplace_back();
  exported.name = kExportName;
  exported.description = "nbdgw demo";
  exported.lun = kLun;
  return config;
}

/// Where clients attach, as libnbd and nbd-client want to be told.
struct Attachment {
  std::string uri;
  std::string command;
};

Attachment attachment(const std::string& address) {
  config::Endpoint endpoint;
  const std::string wrong = config::parse_endpoint(address, endpoint);
  NBDGW_ASSERT(wrong.empty(), "the gateway tells addresses as the configuration does");
  if (endpoint.kind == config::Endpoint::Kind::unix_socket) {
    return {fmt::format("nbd+unix:///{}?socket={}", kExportName, endpoint.path),
            fmt::format("nbd-client -unix {} -N {} /dev/nbd0", endpoint.path, kExportName)};
  }
  return {fmt::format("nbd://{}/{}", to_string(config::Portal{endpoint.host, endpoint.port}), kExportName),
          fmt::format("nbd-client -N {} {} {} /dev/nbd0", kExportName, endpoint.host, endpoint.port)};
}

/// How to open the console: an address for a browser, or what gets the page through a UNIX socket.
std::string console(const std::string& address) {
  if (!address.starts_with("unix://")) return address + "/";
  return "curl --unix-socket " + address.substr(7) + " http://localhost/";
}

CopyEnd copy(const std::string& what, const std::string& from, const std::string& to, std::uint64_t size, int stop) {
  ProgressLine progress(what);
  const auto begin = std::chrono::steady_clock::now();
  const CopyEnd end = run_nbdcopy(from, to, progress, stop);
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
  if (end == CopyEnd::done) {
    progress.finish(
        fmt::format("{:.2f} s, {:.0f} MB/s", time.count(), static_cast<double>(size) / 1e6 / time.count()));
  } else {
    progress.finish(end == CopyEnd::stopped ? "stopped" : "nbdcopy failed");
  }
  return end;
}

/// Random data through the gateway and back. Done: what came back is what went in.
CopyEnd copy_and_compare(const std::string& uri, std::uint64_t size, int stop) {
  const TemporaryFolder folder;
  const std::string original = folder.file("in"), returned = folder.file("out");
  ProgressLine making(fmt::format("{} of random data", config::format_size(size)));
  write_random_file(original, size, making);
  making.finish("there");
  CopyEnd end = copy("nbdcopy in", original, uri, size, stop);
  if (end == CopyEnd::done) end = copy("nbdcopy out", uri, returned, size, stop);
  if (end != CopyEnd::done) return end;
  ProgressLine comparing("comparing");
  const auto difference = first_difference(original, returned);
  comparing.finish(difference ? fmt::format("DIFFERENT from byte {} on", *difference)
                              : fmt::format("all {} bytes are the same", size));
  return difference ? CopyEnd::failed : CopyEnd::done;
}

}  // namespace

int demo_command(const DemoOptions& options) {
  if (const std::string missing = missing_nbdcopy(); !missing.empty()) {
    fmt::print(stderr, "nbdgw: {}\n", missing);
    return kFailed;
  }
  // A disk or a memory that is full is felt by everybody on the machine.
  if (const std::string missing = missing_room(options.size, look_for_room(temporary_place())); !missing.empty()) {
    fmt::print(stderr, "nbdgw: {}\n", missing);
    return kBadUsage;
  }
  StopSignals signals;  // before there is any other thread
  const Logging logging({.level = config::LogLevel::warn, .format = options.log_format});
  iscsi_target::MemoryMedium medium(options.size);
  target_host::TargetServer target(target_options(medium));
  target.start();
  const config::Config config = gateway_config(options, target.port());
  control::Gateway gateway(config);
  admin::ApiSetup setup;
  setup.version = NBDGW_VERSION;
  setup.target = &target;
  admin::AdminServer admin(config, gateway, std::move(setup));
  gateway.start();
  admin.start();
  const std::string address = gateway.addresses().front();
  fmt::print("iSCSI target {} on {}\n", kTargetName, target.address());
  fmt::print("gateway on {}, export {}: LUN {} over up to {} iSCSI connections\n", address, kExportName, kLun,
             config.targets.front().connections);

  fmt::print("console at {}\n", console(admin.addresses().front()));
  std::fflush(stdout);

  const Attachment attach = attachment(address);
  const CopyEnd end = copy_and_compare(attach.uri, options.size, signals.descriptor());
  if (end == CopyEnd::done) {
    fmt::print("\nattach to   {}\nor type     sudo modprobe nbd && sudo {}\n", attach.uri, attach.command);
    fmt::print("watch it at {}\n", console(admin.addresses().front()));
    fmt::print("{}\n", options.once ? "Without --once it would stay up for that." : "Ctrl-C ends it.");
    std::fflush(stdout);
    if (!options.once) signals.wait();
  }
  if (end == CopyEnd::stopped)
    signals.wait();  // takes the signal that stopped it, so that only another one is a second
  signals.run_unless_signalled(
      [&gateway, &admin, &target] {
        admin.begin_end();
        gateway.drain();
        gateway.wait();
        admin.stop();
        target.stop();
      },
      "stopped again: ended at once");
  return end == CopyEnd::done ? kSuccess : kFailed;
}

}  // namespace nbdgw::app
