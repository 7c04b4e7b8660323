#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "gateway/control/gateway.hpp"
#include "gateway/iscsi_target/memory_medium.hpp"
#include "gateway/target_host/server.hpp"
#include "tests/unit/test_client.hpp"

/// Gateways in front of embedded targets, all in this process, over real sockets.
namespace nbdgw::test {

inline constexpr std::uint64_t kDisk = 16 << 20;

/// An embedded target with one disk in memory.
struct Target {
  explicit Target(const std::string& name) : iqn("iqn.2026-11.io.nbdgw:" + name), medium(kDisk) { start(0); }
  void start(std::uint16_t port) {
    target_host::TargetServerOptions options;
    options.port = port;
    options.faults = true;
    iscsi_target::TargetOptions& target = options.target.targets.emplace_back();
    target.name = iqn;
    iscsi_target::LunOptions& lun = target.luns.emplace_back();
    lun.number = 1;
    lun.medium = &medium;
    server = std::make_unique<target_host::TargetServer>(options);
    server->start();
  }
  /// Comes into force before anything that is sent to the target after this.
  void post(const iscsi_target::Fault& fault) {
    std::promise<void> done;
    server->post([&](proto::Micros now) {
      server->faults().add(fault, now);
      done.set_value();
    });
    done.get_future().wait();
  }
  std::string iqn;
  iscsi_target::MemoryMedium medium;
  std::unique_ptr<target_host::TargetServer> server;
};

inline config::Config make_config(const std::vector<config::Portal>& portals, const std::vector<std::string>& names) {
  config::Config config;
  config.listen.nbd.push_back({.kind = config::Endpoint::Kind::tcp, .host = "127.0.0.1", .port = 0, .path = {}});
  config.initiator.name = "iqn.2026-11.io.nbdgw:test";
  config.limits.memory = 128 << 20;
  config.workers = static_cast<std::uint32_t>(portals.size());
  for (std::size_t i = 0; i < portals.size(); ++i) {
    config::Target& target = config.targets.emplace_back();
    target.name = names[i];
    target.iqn = "iqn.2026-11.io.nbdgw:" + names[i];
    target.after_silence = config::AfterSilence::trust;  // faults are for the commands of clients
    target.portals = {portals[i]};
    config::Export& exported = config.exports.emplace_back();
    exported.name = "vol-" + names[i];
    exported.target = static_cast<std::uint32_t>(i);
    exported.lun = 1;
  }
  return config;
}

inline config::Config config_for(const std::vector<const Target*>& targets) {
  std::vector<config::Portal> portals;
  std::vector<std::string> names;
  for (const Target* target : targets) {
    portals.push_back({"127.0.0.1", target->server->port()});
    names.push_back(target->iqn.substr(target->iqn.rfind(':') + 1));
  }
  return make_config(portals, names);
}

inline TestClient attach(const control::Gateway& gateway, const std::string& name) {
  TestClient client(connect_tcp(gateway.listeners().front()->port()));
  REQUIRE(client.go(name) == proto::nbd::Reply::ack);
  return client;
}

}  // namespace nbdgw::test
