// The admin server of a gateway whose target is the embedded one.
#include "gateway/admin/admin_server.hpp"

#include <unistd.h>

#include <doctest/doctest.h>

#include "gateway/control/gateway.hpp"
#include "gateway/http/tls_context.hpp"
#include "gateway/iscsi_target/memory_medium.hpp"
#include "gateway/target_host/server.hpp"
#include "tests/unit/http/http_client.hpp"
#include "tests/unit/http/tls_client.hpp"

using namespace nbdgw;
using nbdgw::test::becomes_true;
using nbdgw::test::HttpClient;
using nbdgw::test::Identity;
using nbdgw::test::make_identity;
using nbdgw::test::TlsClient;

namespace {

constexpr const char* kIqn = "iqn.2026-11.io.nbdgw:watched";

config::AdminEndpoint listening(bool tls = false) {
  return {{.kind = config::Endpoint::Kind::tcp, .host = "127.0.0.1", .port = 0, .path = {}}, tls};
}

/// A gateway with one export, its target, and the admin server.
struct Watched {
  explicit Watched(std::vector<config::AdminEndpoint> addresses = {listening()}, config::Admin admin_config = {}) {
    start_target();
    config.listen.nbd.push_back({.kind = config::Endpoint::Kind::tcp, .host = "127.0.0.1", .port = 0, .path = {}});
    config.listen.admin = std::move(addresses);
    config.admin = std::move(admin_config);
    config.initiator.name = "iqn.2026-11.io.nbdgw:watcher";
    config::Target& target_config = config.targets.emplace_back();
    target_config.name = "target";
    target_config.iqn = kIqn;
    target_config.portals = {{"127.0.0.1", port}};
    config::Export& exported = config.exports.emplace_back();
    exported.name = "vol0";
    exported.lun = 1;
    gateway.emplace(config);
    admin.emplace(config, *gateway);
    gateway->start();
    admin->start();
  }
  void start_target() {
    target_host::TargetServerOptions options;
    options.port = port;
    options.target.targets.push_back({.name = kIqn, .alias = {}, .luns = {}});
    options.target.targets[0].luns.push_back({.number = 1, .medium = &medium, .serial = {}});
    target = std::make_unique<target_host::TargetServer>(options);
    target->start();
    port = target->port();
  }
  HttpClient client() const { return HttpClient(admin->port()); }

  std::uint16_t port = 0;
  iscsi_target::MemoryMedium medium{1 << 20};
  std::unique_ptr<target_host::TargetServer> target;
  config::Config config;
  std::optional<control::Gateway> gateway;
  std::optional<admin::AdminServer> admin;
};

}  // namespace

TEST_CASE("admin server: the probes follow the target") {
  Watched watched;
  HttpClient client = watched.client();
  CHECK(client.ask("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n") == 200);
  const auto get = [&](const std::string& path) {
    return client.ask("GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
  };
  REQUIRE(becomes_true([&] { return get("/readyz") == 200; }));
  CHECK(get("/startupz?verbose") == 200);
  watched.target.reset();
  REQUIRE(becomes_true([&] { return get("/readyz") == 503; }));
  CHECK(client.body.starts_with("[-] export vol0: offline: "));
  CHECK(get("/livez?verbose") == 200);
  CHECK(client.body.starts_with("[+] shard 0\n"));
  CHECK(get("/startupz") == 200);
  watched.start_target();
  CHECK(becomes_true([&] { return get("/readyz") == 200; }));
  CHECK(get("/") == 200);
  CHECK(get("/openapi.yaml") == 200);
  CHECK(client.get("/livez") == 421);  // a name that is not ours
}

TEST_CASE("admin server: is not ready while an operator keeps clients out") {
  Watched watched;
  HttpClient client = watched.client();
  const auto get = [&](const std::string& path) {
    return client.ask("GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
  };
  REQUIRE(becomes_true([&] { return get("/readyz") == 200; }));
  watched.gateway->drain_clients(true, false, [](const control::Verdict&) {});
  REQUIRE(becomes_true([&] { return get("/readyz") == 503; }));
  CHECK(client.body == "[-] gateway: drained by an operator, takes no new clients\nreadyz: failed\n");
  watched.gateway->drain_clients(false, false, [](const control::Verdict&) {});
  REQUIRE(becomes_true([&] { return get("/readyz") == 200; }));
  watched.gateway->set_export_state("vol0", shard::AdminState::maint, false, [](const control::Verdict&) {});
  REQUIRE(becomes_true([&] { return get("/readyz") == 503; }));
  CHECK(client.body == "[-] export vol0: online, an operator lets no new clients in\nreadyz: failed\n");
  watched.gateway->set_export_state("vol0", shard::AdminState::ready, false, [](const control::Verdict&) {});
  CHECK(becomes_true([&] { return get("/readyz") == 200; }));
}

TEST_CASE("admin server: answers until the gateway has ended, and is not ready from the first moment on") {
  Watched watched;
  HttpClient client = watched.client();
  const auto get = [&](const std::string& path) {
    return client.ask("GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
  };
  REQUIRE(becomes_true([&] { return get("/readyz") == 200; }));
  watched.admin->begin_end();
  CHECK(get("/readyz") == 503);
  CHECK(client.body == "[-] gateway: is ending\nreadyz: failed\n");
  CHECK(get("/livez") == 200);
  watched.gateway->drain();
  watched.gateway->wait();
  CHECK(get("/readyz") == 503);
  CHECK(get("/livez") == 200);
  CHECK(get("/startupz") == 503);  // nobody asked in time, and nobody can be asked any more
  watched.admin->stop();
  CHECK(client.is_closed());
}

TEST_CASE("admin server: addresses, token, TLS") {
  char folder[] = "/tmp/nbdgw-admin-XXXXXX";
  REQUIRE(::mkdtemp(folder) != nullptr);
  const std::string path = std::string(folder) + "/admin.sock";
  const Identity root = make_identity({.name = "root"});
  const Identity server = make_identity({.name = "127.0.0.1", .authority = &root});
  const Identity own = make_identity({.name = "ops", .authority = &root});
  {
    config::Admin settings;
    settings.token = "the-token-of-all";
    settings.tls = {{"c", server.certificate}, {"k", server.key}, config::PemFile{"a", root.certificate}};
    const config::AdminEndpoint local{{.kind = config::Endpoint::Kind::unix_socket, .host = {}, .path = path}, false};
    Watched watched({listening(), listening(true), local}, settings);
    CHECK(watched.admin->addresses() == std::vector{"http://127.0.0.1:" + std::to_string(watched.admin->port(0)),
                                                    "https://127.0.0.1:" + std::to_string(watched.admin->port(1)),
                                                    "unix://" + path});
    HttpClient client = watched.client();
    CHECK(client.get("/livez") == 200);
    CHECK(client.get("/") == 401);
    CHECK(client.ask("GET / HTTP/1.1\r\nHost: gateway.example\r\nAuthorization: Bearer the-token-of-all\r\n\r\n") ==
          200);
    HttpClient trusted(path);
    CHECK(trusted.get("/") == 200);
    TlsClient stranger(watched.admin->port(1), {.authority = &root});
    if (stranger.shake_hands()) CHECK(stranger.ask("/livez") == "");
    TlsClient known(watched.admin->port(1), {.authority = &root, .own = &own});
    REQUIRE(known.shake_hands());
    CHECK(known.ask("/livez").starts_with("HTTP/1.1 200"));
    CHECK(known.ask("/").starts_with("HTTP/1.1 401"));
  }
  CHECK(::rmdir(folder) == 0);
}

TEST_CASE("admin server: another token holds from the next request on, for those who are connected, too") {
  config::Admin settings;
  settings.token = "the-token-of-all";
  Watched watched({listening()}, settings);
  HttpClient client = watched.client();
  const auto ask = [&](const std::string& token) {
    return client.ask("GET / HTTP/1.1\r\nHost: gateway.example\r\nAuthorization: Bearer " + token + "\r\n\r\n");
  };
  CHECK(ask("the-token-of-all") == 200);
  settings.token = "another-token-of-all";
  const auto renew = watched.admin->prepare(settings);
  CHECK(ask("the-token-of-all") == 200);  // not before it is asked for
  renew();
  REQUIRE(becomes_true([&] { return ask("another-token-of-all") == 200; }));
  CHECK(ask("the-token-of-all") == 401);
  // No access becomes freer, or of another kind.
  settings.token.clear();
  watched.admin->prepare(settings)();
  settings.token = "a-third-token-of-all";
  watched.admin->prepare(settings)();
  REQUIRE(becomes_true([&] { return ask("a-third-token-of-all") == 200; }));
  CHECK(client.get("/") == 401);
  watched.admin->stop();
  watched.admin->prepare(settings)();  // nobody is there any more
}

TEST_CASE("admin server: another certificate is shown to whoever connects, and old acquaintances have to") {
  const Identity root = make_identity({.name = "root"});
  const Identity other_root = make_identity({.name = "other root"});
  const Identity server = make_identity({.name = "127.0.0.1", .authority = &root});
  const Identity other_server = make_identity({.name = "127.0.0.1", .authority = &other_root});
  const Identity own = make_identity({.name = "ops", .authority = &root});
  const Identity other_own = make_identity({.name = "ops", .authority = &other_root});
  config::Admin settings;
  settings.tls = {{"c", server.certificate}, {"k", server.key}, config::PemFile{"a", root.certificate}};
  Watched watched({listening(true)}, settings);
  TlsClient known(watched.admin->port(0), {.authority = &root, .own = &own});
  REQUIRE(known.shake_hands());
  CHECK(known.ask("/livez").starts_with("HTTP/1.1 200"));

  settings.tls = {{"c", other_server.certificate}, {"k", server.key}, config::PemFile{"a", other_root.certificate}};
  CHECK_THROWS_AS(watched.admin->prepare(settings), http::TlsError);  // not its key: all stays as it is
  CHECK(known.ask("/livez").starts_with("HTTP/1.1 200"));
  settings.tls->key.text = other_server.key;
  watched.admin->prepare(settings)();
  REQUIRE(becomes_true([&] {
    TlsClient next(watched.admin->port(0), {.authority = &other_root, .own = &other_own});
    return next.shake_hands() && next.ask("/livez").starts_with("HTTP/1.1 200");
  }));
  CHECK(known.is_closed());
  TlsClient again(watched.admin->port(0), {.authority = &other_root, .own = &own});
  if (again.shake_hands()) CHECK(again.is_closed());  // nobody vouches for it any more
}

TEST_CASE("admin server: what cannot be opened says why, before the gateway is started") {
  Watched watched;
  config::Config config = watched.config;
  config.listen.admin[0].endpoint.port = watched.admin->port();
  control::Gateway gateway(config);
  try {
    admin::AdminServer second(config, gateway);
    FAIL("two servers on one port");
  } catch (const net::ListenError& e) {
    CHECK(std::string(e.what()).find("change listen.admin") != std::string::npos);
  }
  config.listen.admin = {listening(true)};
  config.admin.tls = {{"c", "nothing"}, {"k", "nothing"}, std::nullopt};
  CHECK_THROWS_AS(admin::AdminServer(config, gateway), http::TlsError);
}
