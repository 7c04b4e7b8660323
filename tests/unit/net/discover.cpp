#include "gateway/net/discover.hpp"

#include <doctest/doctest.h>

#include "gateway/net/target_server.hpp"
#include "gateway/target/memory_medium.hpp"

using namespace nbdgw;

namespace {

net::TargetServerOptions two_targets(target::Medium& medium) {
  net::TargetServerOptions options;
  options.port = 0;
  for (const char* name : {"iqn.2026-11.com.example:one", "iqn.2026-11.com.example:two"}) {
    target::TargetOptions target;
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
  target::MemoryMedium medium(1 << 20);
  net::TargetServer server(two_targets(medium));
  server.start();
  const net::DiscoverResult inquiry = net::discover(settings_for(server.port()));
  REQUIRE(inquiry.failure == "");
  REQUIRE(inquiry.targets.size() == 2);
  CHECK(inquiry.targets[0].name == "iqn.2026-11.com.example:one");
  CHECK(inquiry.targets[1].name == "iqn.2026-11.com.example:two");
  CHECK(inquiry.targets[0].addresses == std::vector<std::string>{server.address() + ",1"});
}

TEST_CASE("discovery of more targets than fit in many responses") {
  target::MemoryMedium medium(1 << 20);
  net::TargetServerOptions options = two_targets(medium);
  target::TargetOptions target = options.target.targets.front();
  for (int i = 0; i < 3000; ++i) {
    target.name = "iqn.2026-11.com.example:" + std::to_string(i);
    options.target.targets.push_back(target);
  }
  net::TargetServer server(options);
  server.start();
  const net::DiscoverResult inquiry = net::discover(settings_for(server.port()));
  CHECK(inquiry.failure == "");
  REQUIRE(inquiry.targets.size() == 3002);
  CHECK(inquiry.targets.back().name == target.name);
  CHECK(inquiry.targets.back().addresses == std::vector<std::string>{server.address() + ",1"});
}

TEST_CASE("discovery over a host name") {
  target::MemoryMedium medium(1 << 20);
  net::TargetServer server(two_targets(medium));
  server.start();
  auto settings = settings_for(server.port());
  settings.portals[0].host = "localhost";  // may be ::1 first, where nobody listens: both are tried
  const net::DiscoverResult inquiry = net::discover(settings);
  CHECK(inquiry.failure == "");
  CHECK(inquiry.targets.size() == 2);
}

TEST_CASE("discovery with CHAP both ways") {
  // One-way CHAP would prove nothing here: the target lets initiators that do not insist on CHAP discover without.
  target::MemoryMedium medium(1 << 20);
  auto options = two_targets(medium);
  options.target.chap.user = "me";
  options.target.chap.secret = "the right secret";
  options.target.chap.mutual_user = "target";
  options.target.chap.mutual_secret = "the secret of the target";
  net::TargetServer server(options);
  server.start();
  auto settings = settings_for(server.port());
  settings.chap.user = "me";
  settings.chap.secret = "the right secret";
  settings.chap.mutual_user = "target";
  settings.chap.mutual_secret = "the secret of the target";
  const net::DiscoverResult right = net::discover(settings);
  CHECK(right.failure == "");
  CHECK(right.targets.size() == 2);
  settings.chap.secret = "the wrong secret";
  const net::DiscoverResult wrong = net::discover(settings);
  CHECK(wrong.failure != "");
  CHECK(wrong.targets.empty());
}

TEST_CASE("discovery where nobody listens, and where nobody answers") {
  target::MemoryMedium medium(1 << 20);
  std::uint16_t port = 0;
  {
    net::TargetServer server(two_targets(medium));
    port = server.port();
  }
  const net::DiscoverResult nobody = net::discover(settings_for(port));
  CHECK(nobody.failure.find("refused") != std::string::npos);

  net::TargetServer silent(two_targets(medium));  // listens, but was not started
  auto settings = settings_for(silent.port());
  settings.login_timeout = 200 * proto::kMillisecond;
  const net::DiscoverResult waiting = net::discover(settings);
  CHECK(waiting.failure == "the portal did not answer in time");
}
