#include "gateway/shard/discover.hpp"

#include <doctest/doctest.h>

#include "gateway/initiator/error.hpp"
#include "gateway/iscsi_target/memory_medium.hpp"
#include "gateway/target_host/server.hpp"

using namespace nbdgw;

namespace {

target_host::TargetServerOptions two_targets(iscsi_target::Medium& medium) {
  target_host::TargetServerOptions options;
  options.port = 0;
  for (const char* name : {"iqn.2026-11.com.example:one", "iqn.2026-11.com.example:two"}) {
    iscsi_target::TargetOptions target;
    target.name = name;
    target.luns.emplace_back().medium = &medium;
    options.target.targets.push_back(target);
  }
  return options;
}

initiator::SessionSettings settings_for(std::uint16_t port) {
  initiator::SessionSettings settings;
  settings.initiator_name = "iqn.2026-11.com.example:test";
  settings.portals = {{"127.0.0.1", port}};
  settings.login_timeout = 2 * proto::kSecond;
  return settings;
}

}  // namespace

TEST_CASE("discovery tells the targets and where they are") {
  iscsi_target::MemoryMedium medium(1 << 20);
  target_host::TargetServer server(two_targets(medium));
  server.start();
  const shard::DiscoverResult inquiry = shard::discover(settings_for(server.port()));
  REQUIRE(inquiry.failure == "");
  REQUIRE(inquiry.targets.size() == 2);
  CHECK(inquiry.targets[0].name == "iqn.2026-11.com.example:one");
  CHECK(inquiry.targets[1].name == "iqn.2026-11.com.example:two");
  CHECK(inquiry.targets[0].addresses == std::vector<std::string>{server.address() + ",1"});
}

TEST_CASE("discovery of more targets than fit in many responses") {
  iscsi_target::MemoryMedium medium(1 << 20);
  target_host::TargetServerOptions options = two_targets(medium);
  iscsi_target::TargetOptions target = options.target.targets.front();
  for (int i = 0; i < 3000; ++i) {
    target.name = "iqn.2026-11.com.example:" + std::to_string(i);
    options.target.targets.push_back(target);
  }
  target_host::TargetServer server(options);
  server.start();
  const shard::DiscoverResult inquiry = shard::discover(settings_for(server.port()));
  CHECK(inquiry.failure == "");
  REQUIRE(inquiry.targets.size() == 3002);
  CHECK(inquiry.targets.back().name == target.name);
  CHECK(inquiry.targets.back().addresses == std::vector<std::string>{server.address() + ",1"});
}

TEST_CASE("discovery over a host name") {
  iscsi_target::MemoryMedium medium(1 << 20);
  target_host::TargetServer server(two_targets(medium));
  server.start();
  auto settings = settings_for(server.port());
  settings.portals[0].host = "localhost";  // may be ::1 first, where nobody listens: both are tried
  const shard::DiscoverResult inquiry = shard::discover(settings);
  CHECK(inquiry.failure == "");
  CHECK(inquiry.targets.size() == 2);
}

TEST_CASE("discovery with CHAP both ways") {
  // One-way CHAP would prove nothing here: the target lets initiators that do not insist on CHAP discover without.
  iscsi_target::MemoryMedium medium(1 << 20);
  auto options = two_targets(medium);
  options.target.chap.user = "me";
  options.target.chap.secret = "the right secret";
  options.target.chap.mutual_user = "target";
  options.target.chap.mutual_secret = "the secret of the target";
  target_host::TargetServer server(options);
  server.start();
  auto settings = settings_for(server.port());
  settings.chap.user = "me";
  settings.chap.secret = "the right secret";
  settings.chap.mutual_user = "target";
  settings.chap.mutual_secret = "the secret of the target";
  const shard::DiscoverResult right = shard::discover(settings);
  CHECK(right.failure == "");
  CHECK(right.targets.size() == 2);
  settings.chap.secret = "the wrong secret";
  const shard::DiscoverResult wrong = shard::discover(settings);
  CHECK(wrong.failure != "");
  CHECK(wrong.targets.empty());
}

TEST_CASE("discovery where nobody listens, and where nobody answers") {
  iscsi_target::MemoryMedium medium(1 << 20);
  std::uint16_t port = 0;
  {
    target_host::TargetServer server(two_targets(medium));
    port = server.port();
  }
  const shard::DiscoverResult nobody = shard::discover(settings_for(port));
  CHECK(nobody.failure.find("refused") != std::string::npos);

  target_host::TargetServer silent(two_targets(medium));  // listens, but was not started
  auto settings = settings_for(silent.port());
  settings.login_timeout = 200 * proto::kMillisecond;
  const shard::DiscoverResult waiting = shard::discover(settings);
  CHECK(waiting.failure == describe(initiator::ConnectionError::login_timed_out));
}
