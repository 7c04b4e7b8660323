#pragma once

#include <doctest/doctest.h>

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "gateway/control/gateway.hpp"
#include "tests/unit/control/test_gateway.hpp"
#include "tests/unit/test_client.hpp"
#include "tests/unit/waiting.hpp"

/// What operators see and do, as calls that wait for their answer.
namespace nbdgw::test {

/// What was told so far of one kind: of the ladder, of LUNs, of failures or of states.
template <typename Event>
std::vector<Event> events_of(const control::Gateway& gateway) {
  std::vector<Event> found;
  for (const shard::EventRecord& record : gateway.events().since(0)) {
    if (const Event* event = std::get_if<Event>(&record.event)) found.push_back(*event);
  }
  return found;
}

/// Calls with a callback, and waits for what it is given. Throws std::future_error when it is destroyed uncalled.
template <typename Result, typename Call>
Result await(Call call) {
  auto promise = std::make_shared<std::promise<Result>>();
  std::future<Result> future = promise->get_future();
  call([promise = std::move(promise)](Result result) { promise->set_value(std::move(result)); });
  return future.get();
}

inline shard::GatewayView view(control::Gateway& gateway, bool clients = true) {
  return await<shard::GatewayView>([&](auto done) { gateway.view({.clients = clients}, std::move(done)); });
}

/// The only export of the only shard.
inline shard::ExportView export_of(control::Gateway& gateway) {
  shard::GatewayView all = view(gateway);
  REQUIRE(all.shards.size() == 1);
  REQUIRE(all.shards[0].exports.size() == 1);
  return all.shards[0].exports[0];
}

inline shard::SessionView session_of(control::Gateway& gateway) {
  shard::GatewayView all = view(gateway);
  REQUIRE(all.shards.size() == 1);
  REQUIRE(all.shards[0].sessions.size() == 1);
  return all.shards[0].sessions[0];
}

inline control::Verdict recover(control::Gateway& gateway, const initiator::RecoveryRequest& request,
                                bool dry_run = false, const std::string& target = "t") {
  return await<control::Verdict>([&](auto done) { gateway.recover(target, request, dry_run, std::move(done)); });
}

inline control::Verdict set_state(control::Gateway& gateway, shard::AdminState state, bool dry_run = false,
                                  const std::string& name = "vol-t") {
  return await<control::Verdict>([&](auto done) { gateway.set_export_state(name, state, dry_run, std::move(done)); });
}

inline control::Verdict rescan(control::Gateway& gateway, bool dry_run = false, const std::string& name = "vol-t") {
  return await<control::Verdict>([&](auto done) { gateway.rescan(name, dry_run, std::move(done)); });
}

inline control::Verdict drop(control::Gateway& gateway, std::uint16_t cid, bool dry_run = false) {
  return await<control::Verdict>([&](auto done) { gateway.drop_connection("t", cid, dry_run, std::move(done)); });
}

inline control::Verdict drain_clients(control::Gateway& gateway, bool on, bool dry_run = false) {
  return await<control::Verdict>([&](auto done) { gateway.drain_clients(on, dry_run, std::move(done)); });
}

inline control::Verdict disconnect(control::Gateway& gateway, std::uint64_t id, bool dry_run = false) {
  return await<control::Verdict>([&](auto done) { gateway.disconnect_client(id, dry_run, std::move(done)); });
}

/// A gateway with one target, logged in with all connections.
struct Rig {
  Rig() {
    gateway.start();
    until([&] { return session_of(gateway).connections_wanted == joined(); });
  }
  std::uint32_t joined() {
    std::uint32_t count = 0;
    for (const auto& connection : session_of(gateway).connections)
      count += connection.state == initiator::ConnectionState::started;
    return count;
  }
  /// The outcome of a rung by hand, once it has ended.
  initiator::RecoveryEvent ended(std::uint32_t request_id) {
    initiator::RecoveryEvent found;
    until([&] {
      for (const shard::EventRecord& record : gateway.events().since(0)) {
        const auto* event = std::get_if<initiator::RecoveryEvent>(&record.event);
        if (event != nullptr && event->request_id == request_id) {
          found = *event;
          return true;
        }
      }
      return false;
    });
    return found;
  }

  Target target{"t"};
  control::Gateway gateway{config_for({&target})};
};

inline bool echoes(TestClient& client) {
  const std::vector<std::uint8_t> data(5000, 0x37);
  std::vector<std::uint8_t> back(data.size());
  return client.write_at(777, data) && client.read_at(777, back) && back == data;
}

}  // namespace nbdgw::test
