// The server over TLS: the same requests and answers, and who gets as far as that.
#include <vector>

#include <doctest/doctest.h>

#include "gateway/http/tls_context.hpp"
#include "tests/unit/http/served.hpp"
#include "tests/unit/http/tls_client.hpp"

using namespace nbdgw;
using namespace nbdgw::http;
using nbdgw::test::becomes_true;
using nbdgw::test::HttpClient;
using nbdgw::test::Identity;
using nbdgw::test::local_address;
using nbdgw::test::make_identity;
using nbdgw::test::Served;
using nbdgw::test::TlsClient;

namespace {

/// An authority and what it has signed.
struct Authority {
  Identity root = make_identity({.name = "root"});
  Identity server = make_identity({.name = "127.0.0.1", .authority = &root});
  Identity client = make_identity({.name = "ops", .authority = &root});
};

config::AdminTls settings(const Identity& server, const Identity* client_ca = nullptr) {
  config::AdminTls tls{{"server.crt", server.certificate}, {"server.key", server.key}, std::nullopt};
  if (client_ca != nullptr) tls.client_ca = config::PemFile{"clients.crt", client_ca->certificate};
  return tls;
}

std::vector<HttpAddress> https(const config::AdminTls& tls) {
  HttpAddress address = local_address();
  address.tls = make_tls_context(tls);
  return {address};
}

}  // namespace

TEST_CASE("https: one connection, many requests, and an end that is told from a cut") {
  const Authority authority;
  Served served({}, https(settings(authority.server)));
  CHECK(served.server->addresses()[0] == "https://127.0.0.1:" + std::to_string(served.server->port()));
  TlsClient client(served.server->port(), {.authority = &authority.root});
  REQUIRE(client.shake_hands());
  CHECK(client.version() == "TLSv1.3");
  CHECK(client.ask("/echo?a=b").ends_with("GET /echo a=b  "));
  CHECK(client.ask("/none").starts_with("HTTP/1.1 404"));
  CHECK(client.ask("/open").starts_with("HTTP/1.1 200"));
  CHECK(served.server->connections() == 1);
  const std::string last = client.ask_and_close("/echo");
  CHECK(last.ends_with("GET /echo   "));
  CHECK(client.ended_properly);
}

TEST_CASE("https: TLS 1.2 is spoken, and nothing older") {
  const Authority authority;
  Served served({.linger = 50 * proto::kMillisecond}, https(settings(authority.server)));
  TlsClient old(served.server->port(), {.authority = &authority.root, .newest = TLS1_2_VERSION});
  REQUIRE(old.shake_hands());
  CHECK(old.version() == "TLSv1.2");
  CHECK(old.ask("/echo").starts_with("HTTP/1.1 200"));
  CHECK(::SSL_renegotiate(old.native()) == 1);  // is asked for with the next bytes, and not had
  CHECK(old.ask("/echo") == "");
  for (const int version : {TLS1_1_VERSION, TLS1_VERSION}) {
    TlsClient older(served.server->port(), {.newest = version});
    CHECK_FALSE(older.shake_hands());
  }
  CHECK(becomes_true([&] { return served.counters().intrusions[static_cast<std::size_t>(Intrusion::tls)] == 2; }));
}

TEST_CASE("https: a client certificate, where it is demanded") {
  const Authority authority;
  const Identity stranger_root = make_identity({.name = "root"});
  const Identity stranger = make_identity({.name = "ops", .authority = &stranger_root});
  const Identity expired =
      make_identity({.name = "ops", .authority = &authority.root, .begins_in_days = -2, .ends_in_days = -1});
  Served served({.linger = 50 * proto::kMillisecond}, https(settings(authority.server, &authority.root)));
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsClient good(served.server->port(), {.own = &authority.client, .newest = version});
    REQUIRE(good.shake_hands());
    const std::string answer = good.ask("/echo");
    CHECK(answer.starts_with("HTTP/1.1 200"));
    CHECK(answer.find("CN=ops\r\n") != std::string::npos);  // X-Peer: who it was is known
    for (const Identity* wrong : {static_cast<const Identity*>(nullptr), &stranger, &expired}) {
      TlsClient bad(served.server->port(), {.own = wrong, .newest = version});
      // With TLS 1.3 the client has finished before the server looks at its certificate.
      if (bad.shake_hands()) CHECK(bad.ask("/echo") == "");
    }
  }
  CHECK(served.counters().answers.at(200) == 2);
  CHECK(served.counters().intrusions[static_cast<std::size_t>(Intrusion::tls)] == 6);
}

TEST_CASE("https: those who shake no hands") {
  const Authority authority;
  SUBCASE("lose their place when the time is over") {
    Served served({.handshake = 50 * proto::kMillisecond, .linger = 50 * proto::kMillisecond},
                  https(settings(authority.server)));
    HttpClient silent = served.client();
    CHECK(silent.is_closed());
    HttpClient half = served.client();
    half.send("\x16\x03\x01");
    CHECK(half.is_closed());
    CHECK(becomes_true([&] { return served.server->connections() == 0; }));
    CHECK(served.counters().intrusions[static_cast<std::size_t>(Intrusion::tls)] == 2);
  }
  SUBCASE("lose it to those who do") {
    Served served({.connections = 4}, https(settings(authority.server)));
    std::vector<std::unique_ptr<HttpClient>> silent;
    for (int i = 0; i < 50; ++i) silent.push_back(std::make_unique<HttpClient>(served.server->port()));
    TlsClient client(served.server->port(), {.authority = &authority.root});
    REQUIRE(client.shake_hands());
    CHECK(client.ask("/echo").starts_with("HTTP/1.1 200"));
    CHECK(served.counters().evicted >= 46);
  }
  SUBCASE("get nothing for speaking HTTP in the clear, nor for noise") {
    Served served({.linger = 50 * proto::kMillisecond}, https(settings(authority.server)));
    for (const char* said :
         {"GET /open HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\xff\xff\xff\xff\xff", "\0\0\0\0"}) {
      HttpClient client = served.client();
      client.send(std::string(said) + std::string(100, '\xff'));
      CHECK_FALSE(client.receive());
    }
    CHECK(served.counters().answers.empty());
  }
}

TEST_CASE("tls: what cannot be offered names its key") {
  const Authority authority;
  const auto says = [](const config::AdminTls& tls) -> std::string {
    try {
      make_tls_context(tls);
    } catch (const TlsError& e) {
      return e.what();
    }
    return {};
  };
  CHECK(says(settings(authority.server, &authority.root)) == "");
  config::AdminTls tls = settings(authority.server);
  tls.key.text = authority.client.key;
  CHECK(says(tls).starts_with("admin.tls.key_file: server.key"));
  tls = settings(authority.server);
  tls.certificate.text = "nothing";
  CHECK(says(tls).starts_with("admin.tls.certificate_file: server.crt: "));
  // As it stands in the file it is good, but TLS does not take so short a key.
  CHECK(says(settings(make_identity({.rsa_bits = 1024}))).starts_with("admin.tls.certificate_file: server.crt: "));
}
