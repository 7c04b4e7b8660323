#include "config/parse_admin.hpp"

#include <doctest/doctest.h>

#include "config/address.hpp"
#include "tests/unit/certificates.hpp"
#include "tests/unit/config/support.hpp"

using namespace nbdgw::config;
using namespace nbdgw::config::test;
using nbdgw::test::behind_password;
using nbdgw::test::Identity;
using nbdgw::test::make_identity;

namespace {

/// kGood with listen.admin in line 3 and, if given, an admin section at the end, in line 14.
std::string with_admin(const std::string& addresses, const std::string& section = {}) {
  return replaced(kGood, "initiator:", "  admin: " + addresses + "\ninitiator:") +
         (section.empty() ? "" : "admin: " + section + "\n");
}

const std::string kToken = "0123456789abcdef";
const std::string kTls = "{certificate_file: c, key_file: k}";

struct Files : MemoryFiles {
  Files() {
    files["t"] = {kToken + "\n", 0600, ""};
    files["c"] = {server.certificate, 0644, ""};
    files["k"] = {server.key, 0640, ""};
    files["ca"] = {server.certificate + make_identity().certificate, 0644, ""};
  }
  Identity server = make_identity();
};

}  // namespace

TEST_CASE("admin addresses: one, a list, or none") {
  CHECK(parse(kGood, "f", MemoryFiles()).config->listen.admin.empty());
  const auto one = parse(with_admin("\"http://127.0.0.1:9810\""), "f", MemoryFiles());
  REQUIRE(strings(one.errors) == Lines{});
  CHECK(strings(one.warnings) == Lines{});
  CHECK(one.config->listen.admin == std::vector{AdminEndpoint{{Endpoint::Kind::tcp, "127.0.0.1", 9810, ""}, false}});
  const auto list =
      parse(with_admin("[\"http://[::1]\", \"https://localhost:1\", \"unix:///run/a\"]", "{tls: " + kTls + "}"), "f",
            Files());
  REQUIRE(strings(list.errors) == Lines{});
  CHECK(list.config->listen.admin ==
        std::vector{AdminEndpoint{{Endpoint::Kind::tcp, "::1", 9810, ""}, false},
                    AdminEndpoint{{Endpoint::Kind::tcp, "localhost", 1, ""}, true},
                    AdminEndpoint{{Endpoint::Kind::unix_socket, "", 0, "/run/a"}, false}});
  for (const AdminEndpoint& each : list.config->listen.admin) {
    AdminEndpoint again;
    CHECK(parse_admin_endpoint(to_string(each), again) == "");
    CHECK(again == each);
  }
  AdminEndpoint out;
  for (const char* bad :
       {"", "127.0.0.1:9810", "tcp://127.0.0.1:1", "http://", "http://*:1", "http://127.0.0.1:1/", "https://::1",
        "http:/127.0.0.1", "HTTP://127.0.0.1", "unix://run/a", "unix:///run/", "http://127.0.0.1:65536"}) {
    CAPTURE(bad);
    CHECK(parse_admin_endpoint(bad, out) != "");
  }
}

TEST_CASE("admin addresses: what is wrong with them") {
  CHECK(errors(with_admin("\"tcp://127.0.0.1:1\"")) ==
        Lines{"f:3:10: listen.admin: \"tcp://127.0.0.1:1\": expected http://HOST:PORT, https://HOST:PORT or "
              "unix:///PATH"});
  CHECK(errors(with_admin("[]")) ==
        Lines{"f:3:10: listen.admin: expected a list of addresses such as \"http://127.0.0.1:9810\", found an empty "
              "one"});
  CHECK(errors(with_admin("[\"http://127.0.0.1\", \"http://127.0.0.1:9810\"]")) ==
        Lines{"f:3:31: listen.admin[1]: \"http://127.0.0.1:9810\" is in the list twice"});
  std::string many = "[";
  for (int i = 1; i <= 9; ++i) many += "\"http://127.0.0.1:" + std::to_string(i) + "\", ";
  CHECK(errors(with_admin(many + "]")) == Lines{"f:3:10: listen.admin: has more than 8 addresses"});
  CHECK(errors(with_admin("{a: b}"))[0].starts_with("f:3:10: listen.admin: expected a list of addresses"));
}

TEST_CASE("off loopback the admin server asks who is there, or is not started") {
  const std::string open = "\"http://0.0.0.0:9810\"";
  REQUIRE(errors(with_admin(open)).size() == 1);
  CHECK(
      errors(with_admin(open))[0] ==
      "f:3:10: listen.admin: whoever reaches http://0.0.0.0:9810 could stop every export: give admin.token_file, or "
      "https and admin.tls.client_ca_file; or listen on 127.0.0.1 or a UNIX socket");
  for (const char* other : {"\"http://[::]\"", "\"http://192.0.2.1\"", "\"http://a.example\""})
    CHECK(errors(with_admin(other)).size() == 1);
  for (const char* local : {"\"http://127.9.9.9\"", "\"http://[::1]\"", "\"http://localhost\"", "\"unix:///run/a\""})
    CHECK(errors(with_admin(local)) == Lines{});

  const Files files;
  const auto token = parse(with_admin(open, "{token_file: t}"), "f", files);
  REQUIRE(strings(token.errors) == Lines{});
  CHECK(token.config->admin.token == kToken);
  CHECK(
      strings(token.warnings) ==
      Lines{
          "f:3:10: listen.admin: the token goes over the network in the clear; https and admin.tls keep it secret"});
  const std::string https = "\"https://0.0.0.0:9810\"";
  CHECK(errors(with_admin(https, "{tls: " + kTls + "}"), files).size() == 1);
  CHECK(errors(with_admin(https, "{token_file: t, tls: " + kTls + "}"), files) == Lines{});
  const std::string with_ca = "{tls: {certificate_file: c, key_file: k, client_ca_file: ca}}";
  const auto mutual = parse(with_admin(https, with_ca), "f", files);
  REQUIRE(strings(mutual.errors) == Lines{});
  CHECK(strings(mutual.warnings) == Lines{});
  CHECK(mutual.config->admin.tls ==
        AdminTls{{"c", files.server.certificate}, {"k", files.server.key}, PemFile{"ca", files.files.at("ca").text}});
  // The authorities are of use where there is TLS only.
  CHECK(errors(with_admin("[" + open + ", \"https://0.0.0.0:1\"]", with_ca), files).size() == 1);
}

TEST_CASE("TLS and https belong together") {
  CHECK(errors(with_admin("\"https://127.0.0.1\"")) ==
        Lines{"f:3:10: listen.admin: https needs a certificate: give admin.tls with certificate_file and key_file"});
  CHECK(errors(with_admin("\"http://127.0.0.1\"", "{tls: " + kTls + "}"), Files()) ==
        Lines{"f:14:14: admin.tls: no address in listen.admin begins with https:// or https+systemd:, so nothing "
              "would use it"});
  CHECK(errors(kGood + "admin: {tls: " + kTls + "}\n", Files()).size() == 1);
  CHECK(errors(kGood + "admin: {}\n") == Lines{});
  CHECK(errors(kGood + "admin: {token: abc}\n")[0].starts_with("f:13:9: admin.token: unknown key; "));
}

TEST_CASE("the token of the admin server") {
  Files files;
  const auto says = [&](const std::string& token, unsigned mode = 0600) {
    files.files["t"] = {token, mode, ""};
    const auto result = parse(with_admin("\"http://127.0.0.1\"", "{token_file: t}"), "f", files);
    return strings(result.config ? result.warnings : result.errors);
  };
  const std::string place = "f:14:21: admin.token_file: ";
  CHECK(says(kToken + "\n") == Lines{});
  CHECK(says("a-._~+/=aaaaaaaaaaaa") == Lines{});
  CHECK(says("a token with spaces\n") ==
        Lines{place + "a token has only letters, digits and -._~+/=; a good one comes "
                      "from: openssl rand -hex 32"});
  CHECK(says("0123456789abcde\n") == Lines{place + "the token has 15 bytes; fewer than 16 can be guessed; a good one "
                                                   "comes from: openssl rand -hex 32"});
  CHECK(says(kToken, 0644) == Lines{place + "t is open to every user of this machine; do: chmod o-rwx t"});
  CHECK(says("") == Lines{place + "t is empty; it must hold the secret, in one line"});
  files.files["t"] = {kToken, 0600, ""};
  const auto unused = parse(with_admin("\"unix:///run/a\"", "{token_file: t}"), "f", files);
  REQUIRE(unused.config);
  CHECK(strings(unused.warnings) ==
        Lines{"f:14:21: admin.token_file: has no effect: no address in listen.admin begins with http:// or https://, "
              "and a UNIX socket asks for no token"});
  files.files.erase("t");
  CHECK(errors(with_admin("\"http://0.0.0.0\"", "{token_file: t}"), files) ==
        Lines{place + "cannot read t: No such file or directory"});
  files.files["/etc/nbdgw/t"] = {kToken, 0600, ""};
  const auto beside = parse(with_admin("\"http://127.0.0.1\"", "{token_file: t}"), "/etc/nbdgw/nbdgw.yaml", files);
  REQUIRE(beside.config);
  CHECK(beside.config->admin.token == kToken);
}

TEST_CASE("certificate and key of the admin server: what is wrong is said before anything starts") {
  Files files;
  const std::string yaml =
      with_admin("\"https://127.0.0.1\"", "{tls: {certificate_file: c, key_file: k, client_ca_file: ca}}");
  const auto with = [&](const std::string& name, FileContent content) {
    Files changed = files;
    changed.files[name] = std::move(content);
    const auto result = parse(yaml, "f", changed);
    return strings(result.config ? result.warnings : result.errors);
  };
  const std::string certificate = "f:14:33: admin.tls.certificate_file: ";
  const std::string key = "f:14:46: admin.tls.key_file: ";
  const std::string authorities = "f:14:65: admin.tls.client_ca_file: ";
  REQUIRE(errors(yaml, files) == Lines{});
  CHECK(with("c", {"", 0, "No such file or directory"}) ==
        Lines{certificate + "cannot read c: No such file or directory"});
  CHECK(with("c", {files.server.key, 0644, ""}) ==
        Lines{certificate + "c holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"});
  CHECK(with("c", {"", 0644, ""}).size() == 1);
  const std::string broken = replaced(files.server.certificate, "\nM", "\n!");
  CHECK(with("c", {broken, 0644, ""}) ==
        Lines{certificate + "c holds a certificate that is damaged: the 1. from its beginning"});
  CHECK(with("ca", {files.server.certificate + broken, 0644, ""}) ==
        Lines{authorities + "ca holds a certificate that is damaged: the 2. from its beginning"});
  CHECK(with("k", {files.server.key, 0644, ""}) ==
        Lines{key + "k is open to every user of this machine; do: chmod o-rwx k"});
  CHECK(with("k", {files.server.certificate, 0600, ""}) ==
        Lines{key + "k holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)"});
  REQUIRE(with("k", {behind_password(files.server.key), 0600, ""}).size() == 1);
  CHECK(
      with("k", {behind_password(files.server.key), 0600, ""})[0].starts_with(key + "k is a key behind a password"));
  CHECK(with("k", {make_identity().key, 0600, ""}) ==
        Lines{key + "k is not the key of c; the server's own certificate comes first in that file"});
  CHECK(with("ca", {"nothing", 0600, ""}) ==
        Lines{authorities + "ca holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)"});
  // Too old or too new works, but clients will not like it.
  for (const auto& [begins, ends, words] :
       {std::tuple{-2, -1, "c expired on "}, std::tuple{1, 2, "c is not valid before "}}) {
    const Identity other = make_identity({.begins_in_days = begins, .ends_in_days = ends});
    files.files["k"].text = other.key;
    const Lines said = with("c", {other.certificate, 0644, ""});
    REQUIRE(said.size() == 1);
    CHECK(said[0].starts_with(certificate + words));
  }
}

TEST_CASE("exports that the gateway is ready without") {
  CHECK(parse(kGood, "f", MemoryFiles()).config->exports[0].required);
  const auto result = parse(kGood + "    required: false\n", "f", MemoryFiles());
  REQUIRE(strings(result.errors) == Lines{});
  CHECK_FALSE(result.config->exports[0].required);
}
