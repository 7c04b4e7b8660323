#include "gateway/admin/config_json.hpp"

#include <boost/json.hpp>

#include <doctest/doctest.h>

#include "config/parse.hpp"
#include "gateway/http/json_text.hpp"

using namespace nbdgw;

namespace {

constexpr const char* kSecret = "0123456789abcdef-hidden";

/// Every file there is holds the secret.
class Secrets final : public config::FileReader {
 public:
  config::FileContent read(const std::string&, std::size_t) const override {
    return {.text = kSecret, .mode = 0600, .error = {}};
  }
};

constexpr const char* kYaml = R"(
listen: {nbd: ["tcp://127.0.0.1:10809", "unix:///run/n.sock"], admin: "http://127.0.0.1:9810"}
admin: {token_file: tokens/admin}
workers: 3
state_dir: /run/here
log: {level: warn}
limits: {memory: 256MiB, handshake_timeout: 1500ms, stall_timeout: 5min}
initiator: {name: "iqn.2026-11.com.example:host-1"}
targets:
  - name: array
    iqn: iqn.2003-01.org.linux-iscsi.array:t1
    portals: ["192.0.2.10:3260", "[2001:db8::10]:3261"]
    data_digest: prefer-crc32c
    auth: {chap: {user: gw, secret_file: /etc/secret, algorithms: [md5, sha3-256]}}
    after_reinstatement: trust
    other_group: trust
    after_silence: trust
    time2wait: negotiated
    on_path_loss: hold
    power_on_attention: ignore
    timeouts: {command: 90s, nop_interval: 0s}
exports:
  - {name: vol0, target: array, lun: 1, description: "Größe", required: false}
  - {name: vol1, target: array, lun: 2, read_only: true, same_disk: refuse}
)";

}  // namespace

TEST_CASE("configuration JSON: is read back as the same configuration, and shows no secret") {
  const Secrets files;
  const config::ParseResult first = config::parse(kYaml, "/etc/nbdgw/nbdgw.yaml", files);
  for (const auto& error : first.errors) MESSAGE(error.to_string());
  REQUIRE(first.config);
  const boost::json::object shown = admin::to_json(*first.config);
  const std::string text = http::to_text(shown);
  CHECK(text.find(kSecret) == std::string::npos);
  CHECK(shown.at("admin").at("token_file") == "/etc/nbdgw/tokens/admin");
  CHECK(shown.at("targets").at(0).at("auth").at("chap").at("secret_file") == "/etc/secret");
  CHECK(shown.at("workers") == 3);
  CHECK(shown.at("state_dir") == "/run/here");
  CHECK(shown.at("limits").at("handshake_timeout") == "1500ms");
  CHECK(shown.at("limits").at("stall_timeout") == "5min");
  CHECK(shown.at("exports").at(0).as_object().contains("description"));
  CHECK_FALSE(shown.at("exports").at(1).as_object().contains("description"));
  const config::ParseResult second = config::parse(text, "/elsewhere.yaml", files);
  for (const auto& error : second.errors) MESSAGE(error.to_string());
  REQUIRE(second.config);
  CHECK(*second.config == *first.config);
}

TEST_CASE("configuration JSON: automatic workers are read back, too") {
  const Secrets files;
  const config::ParseResult parsed = config::parse(
      R"({"listen":{"nbd":["tcp://127.0.0.1:0"]},"workers":"auto","initiator":{"name":"iqn.2026-11.com.example:h"},
          "targets":[{"name":"t","iqn":"iqn.2026-11.com.example:t","portals":["127.0.0.1"]}],
          "exports":[{"name":"e","target":"t","lun":0}]})",
      "x", files);
  REQUIRE(parsed.config);
  const config::ParseResult again = config::parse(http::to_text(admin::to_json(*parsed.config)), "x", files);
  REQUIRE(again.config);
  CHECK(*again.config == *parsed.config);
}

TEST_CASE("configuration JSON: no admin section where there is none") {
  const config::Config config;
  const boost::json::object shown = admin::to_json(config);
  CHECK(shown.at("workers") == "auto");
  CHECK_FALSE(shown.contains("admin"));
  CHECK_FALSE(shown.at("listen").as_object().contains("admin"));
}
