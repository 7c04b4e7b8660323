#include "config/address.hpp"

#include <doctest/doctest.h>

#include <string>
#include <utility>

using namespace nbdgw::config;

namespace {

Portal portal(std::string_view text) {
  Portal out;
  CHECK(parse_portal(text, out) == "");
  return out;
}

Endpoint endpoint(std::string_view text) {
  Endpoint out;
  CHECK(parse_endpoint(text, out) == "");
  return out;
}

}  // namespace

TEST_CASE("portals") {
  CHECK(portal("192.0.2.10:3261") == Portal{"192.0.2.10", 3261});
  CHECK(portal("192.0.2.10") == Portal{"192.0.2.10", 3260});
  CHECK(portal("[2001:db8::1]:3261") == Portal{"2001:db8::1", 3261});
  CHECK(portal("[2001:db8::1]") == Portal{"2001:db8::1", 3260});
  CHECK(portal("[fe80::1%eth0]:3260") == Portal{"fe80::1%eth0", 3260});
  CHECK(portal("storage-1.example.com:3260") == Portal{"storage-1.example.com", 3260});
  Portal out;
  for (const char* bad : {"",
                          ":3260",
                          "192.0.2.10:",
                          "192.0.2.10:0",
                          "192.0.2.10:65536",
                          "192.0.2.10:x",
                          "192.0.2.256:1",
                          "192.0.2:1",
                          "[192.0.2.1]:1",
                          "[::1",
                          "[::1]3260",
                          "[]:1",
                          "[fe80::1%]:1",
                          "2001:db8::1",
                          "a..b:1",
                          "-a:1",
                          "a b:1",
                          "*:1",
                          "tcp://192.0.2.10:3260",
                          "192.0.2.10:3260,1",
                          "a:1:2"}) {
    CAPTURE(bad);
    CHECK(parse_portal(bad, out) != "");
  }
  CHECK(parse_portal("2001:db8::1", out) == "an IPv6 address needs brackets: [2001:db8::1]");
  CHECK(to_string(portal("[2001:db8::1]:3261")) == "[2001:db8::1]:3261");
  CHECK(to_string(portal("a.example")) == "a.example:3260");
}

TEST_CASE("endpoints") {
  CHECK(endpoint("tcp://127.0.0.1:10809") == Endpoint{Endpoint::Kind::tcp, "127.0.0.1", 10809, ""});
  CHECK(endpoint("tcp://[::1]") == Endpoint{Endpoint::Kind::tcp, "::1", 10809, ""});
  CHECK(endpoint("tcp://0.0.0.0:0").port == 0);
  CHECK(endpoint("unix:///run/nbdgw/nbd.sock") ==
        Endpoint{Endpoint::Kind::unix_socket, "", 0, "/run/nbdgw/nbd.sock"});
  Endpoint out;
  for (const char* bad : {"", "127.0.0.1:10809", "nbd://127.0.0.1", "tcp://", "tcp://*:1", "tcp:127.0.0.1",
                          "unix://run/a", "unix://", "unix:///", "unix:///run/", "unix:/run/a"}) {
    CAPTURE(bad);
    CHECK(parse_endpoint(bad, out) != "");
  }
  const std::string longest = "unix:///" + std::string(106, 'a');
  CHECK(parse_endpoint(longest, out) == "");
  CHECK(parse_endpoint(longest + "a", out) == "the path has 108 bytes; the system allows 107");
  for (const char* text : {"tcp://[::1]:10809", "tcp://127.0.0.1:1", "unix:///run/a"})
    CHECK(to_string(endpoint(text)) == text);
}

TEST_CASE("sockets of systemd, where a configuration may name them") {
  Endpoint out;
  CHECK(parse_listen_address("systemd:nbd", out) == "");
  CHECK(out == Endpoint{Endpoint::Kind::systemd, "", 0, "nbd"});
  CHECK(to_string(out) == "systemd:nbd");
  CHECK(parse_endpoint("systemd:nbd", out) != "");  // nothing that one could connect to
  for (const std::string& bad : {std::string("systemd:"), std::string("systemd:a:b"), std::string("systemd:a b"),
                                 std::string("systemd:\x7f"), "systemd:" + std::string(256, 'a')}) {
    CAPTURE(bad);
    CHECK(parse_listen_address(bad, out) != "");
  }
  CHECK(parse_listen_address("systemd:" + std::string(255, 'a'), out) == "");
  CHECK(parse_listen_address("tcp://127.0.0.1", out) == "");
  CHECK(out.kind == Endpoint::Kind::tcp);

  AdminEndpoint admin;
  for (const auto& [text, tls] : {std::pair{"systemd:admin", false}, std::pair{"https+systemd:admin", true}}) {
    CHECK(parse_admin_listen_address(text, admin) == "");
    CHECK(admin == AdminEndpoint{{Endpoint::Kind::systemd, "", 0, "admin"}, tls});
    CHECK(to_string(admin) == text);
    CHECK(parse_admin_endpoint(text, admin) != "");
  }
}

TEST_CASE("which endpoints stay on this machine") {
  for (const char* text : {"unix:///run/a", "tcp://127.0.0.1", "tcp://127.9.9.9", "tcp://[::1]", "tcp://localhost"}) {
    CHECK(is_local(endpoint(text)));
  }
  for (const char* text : {"tcp://0.0.0.0", "tcp://[::]", "tcp://192.0.2.1", "tcp://a.example"})
    CHECK_FALSE(is_local(endpoint(text)));
}
