#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gateway/control/gateway.hpp"
#include "gateway/iscsi_target/fault.hpp"
#include "gateway/iscsi_target/memory_medium.hpp"
#include "gateway/target_host/server.hpp"
#include "tests/unit/control/gateway_rig.hpp"
#include "tests/unit/test_client.hpp"

namespace nbdgw::test {

/// An embedded target with several disks in memory, LUN 1 and up.
class Array {
 public:
  explicit Array(const std::string& name, std::uint16_t luns = 3) : iqn_("iqn.2026-11.io.nbdgw:" + name) {
    target_host::TargetServerOptions options;
    options.port = 0;
    options.faults = true;
    iscsi_target::TargetOptions& target = options.target.targets.emplace_back();
    target.name = iqn_;
    for (std::uint16_t i = 1; i <= luns; ++i) {
      media_.push_back(std::make_unique<iscsi_target::MemoryMedium>(kDisk));
      iscsi_target::LunOptions& lun = target.luns.emplace_back();
      lun.number = i;
      lun.medium = media_.back().get();
    }
    server_ = std::make_unique<target_host::TargetServer>(options);
    server_->start();
  }

  config::Target configured(const std::string& name) const {
    config::Target target;
    target.name = name;
    target.iqn = iqn_;
    target.after_silence = config::AfterSilence::trust;  // faults are for the commands of clients
    target.portals = {{"127.0.0.1", server_->port()}};
    target.connections = 2;
    return target;
  }

  /// The next command to this LUN is taken and never answered.
  void hang_next(std::uint32_t lun) {
    iscsi_target::Fault fault;
    fault.kind = iscsi_target::FaultKind::hang_task;
    fault.lun = lun;
    fault.has_trigger = true;
    fault.count = 1;
    std::promise<void> done;
    server_->post([&](proto::Micros now) {
      server_->faults().add(fault, now);
      done.set_value();
    });
    done.get_future().wait();
  }

 private:
  const std::string iqn_;
  std::vector<std::unique_ptr<iscsi_target::MemoryMedium>> media_;
  std::unique_ptr<target_host::TargetServer> server_;
};

inline config::Config empty_config() {
  config::Config config;
  config.listen.nbd.push_back({.kind = config::Endpoint::Kind::tcp, .host = "127.0.0.1", .port = 0, .path = {}});
  config.initiator.name = "iqn.2026-11.io.nbdgw:test";
  config.limits.memory = 128 << 20;
  config.workers = 2;
  return config;
}

inline void add_export(config::Config& config, const std::string& name, std::uint32_t target, std::uint16_t lun) {
  config::Export& exported = config.exports.emplace_back();
  exported.name = name;
  exported.target = target;
  exported.lun = lun;
}

inline config::Export& named(config::Config& config, const std::string& name) {
  const auto found = std::ranges::find(config.exports, name, &config::Export::name);
  REQUIRE(found != config.exports.end());
  return *found;
}

inline void remove_export(config::Config& config, const std::string& name) {
  std::erase_if(config.exports, [&](const config::Export& exported) { return exported.name == name; });
}

inline control::ReloadOutcome apply(control::Gateway& gateway, const config::Config& next, bool dry_run = false) {
  return await<control::ReloadOutcome>([&](auto done) { gateway.apply(next, dry_run, std::move(done)); });
}

/// Two arrays; exports keep and other on the first, far on the second.
struct Reloading {
  explicit Reloading(control::GatewayOptions options = {}) : gateway(config, options) { gateway.start(); }

  static config::Config make_config(const Array& a, const Array& b) {
    config::Config made = empty_config();
    made.targets = {a.configured("a"), b.configured("b")};
    add_export(made, "keep", 0, 1);
    add_export(made, "other", 0, 2);
    add_export(made, "far", 1, 1);
    return made;
  }

  Array a{"a"};
  Array b{"b"};
  config::Config config = make_config(a, b);
  control::Gateway gateway;
};

/// Has it applied, or fails.
inline void reload(control::Gateway& gateway, const config::Config& next) {
  REQUIRE(apply(gateway, next).kind == control::ReloadOutcome::Kind::applied);
  CHECK(*gateway.config() == next);
}

inline std::future<control::ReloadOutcome> begin_apply(control::Gateway& gateway, const config::Config& next) {
  auto promise = std::make_shared<std::promise<control::ReloadOutcome>>();
  std::future<control::ReloadOutcome> future = promise->get_future();
  gateway.apply(next, false, [promise](control::ReloadOutcome outcome) { promise->set_value(std::move(outcome)); });
  return future;
}

inline bool is_ready(const std::future<control::ReloadOutcome>& future) {
  return future.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

inline std::vector<shard::ExportView> exports(control::Gateway& gateway) {
  std::vector<shard::ExportView> all;
  for (shard::ShardView& shard : view(gateway).shards)
    for (shard::ExportView& exported : shard.exports) all.push_back(std::move(exported));
  return all;
}

inline shard::ExportView export_named(control::Gateway& gateway, const std::string& name) {
  for (shard::ExportView& exported : exports(gateway))
    if (exported.name == name) return std::move(exported);
  FAIL("there is no export " << name);
  return {};
}

inline std::vector<shard::SessionView> sessions(control::Gateway& gateway) {
  std::vector<shard::SessionView> all;
  for (shard::ShardView& shard : view(gateway).shards)
    for (shard::SessionView& session : shard.sessions) all.push_back(std::move(session));
  return all;
}

inline shard::SessionView session_named(control::Gateway& gateway, const std::string& target) {
  for (shard::SessionView& session : sessions(gateway))
    if (session.target == target) return std::move(session);
  FAIL("there is no session with target " << target);
  return {};
}

/// What a client is told that asks for this export.
inline proto::nbd::Reply ask_for(const control::Gateway& gateway, const std::string& name) {
  TestClient client(connect_tcp(gateway.listeners().front()->port()));
  return client.go(name);
}

/// The connection has ended, in good order or not.
inline bool has_ended(TestClient& client) {
  std::uint8_t byte = 0;
  return !client.read({&byte, 1});
}

}  // namespace nbdgw::test
