#include "config/parse.hpp"

#include <doctest/doctest.h>

#include "tests/unit/config/support.hpp"

using namespace nbdgw::config;
using namespace nbdgw::config::test;
using nbdgw::proto::kSecond;

TEST_CASE("a minimal file gets the defaults") {
  const ParseResult result = parse(kGood, "f", MemoryFiles());
  REQUIRE(strings(result.errors) == Lines{});
  CHECK(strings(result.warnings) == Lines{});
  const Config& config = *result.config;
  CHECK(config.listen.nbd == std::vector{Endpoint{Endpoint::Kind::tcp, "127.0.0.1", 10809, ""}});
  CHECK(config.limits == Limits{});
  CHECK(config.workers == 0);
  CHECK(config.log.level == LogLevel::info);
  CHECK(config.initiator.name == "iqn.2026-11.com.example:host-1");
  Target target;
  target.name = "array";
  target.iqn = "iqn.2003-01.org.linux-iscsi.array:t1";
  target.portals = {{"192.0.2.10", 3260}};
  CHECK(config.targets == std::vector{target});
  CHECK(config.exports == std::vector{Export{"vol0", "", 0, 1, false}});
}

TEST_CASE("no YAML, no document, too many documents") {
  CHECK(errors("") == Lines{"f: is empty; nbdgw.yaml(5) shows the least that it needs"});
  CHECK(errors("# nothing\n") == Lines{"f: is empty; nbdgw.yaml(5) shows the least that it needs"});
  CHECK(errors(kGood + "---\na: 1\n") ==
        Lines{"f:14:1: a second document begins here; a configuration is one document"});
  REQUIRE(errors("listen: [\n").size() == 1);
  CHECK(errors("listen: [\n")[0].starts_with("f:2:1: is no YAML: "));
  CHECK(errors("- a\n")[0].starts_with("f:1:1: expected a mapping with the keys listen, admin, limits,"));
  CHECK(errors(std::string(100'000, '[')).size() == 1);
}

TEST_CASE("where no document can begin the parser comes to an end") {
  CHECK(errors(", " + std::string(kGood)).size() == 1);  // yaml-cpp finds empty documents there for ever
}

TEST_CASE("a missing section is named, and all of them") {
  CHECK(errors("log: {level: info}\n").size() == 4);
  CHECK(errors("log: {level: info}\n")[0] ==
        "f:1:1: listen: is missing; for example listen: {nbd: [\"tcp://127.0.0.1:10809\"]}");
  CHECK(errors(replaced(kGood, "    iqn: iqn.2003-01.org.linux-iscsi.array:t1\n", "")) ==
        Lines{"f:6:5: targets[0].iqn: is missing; for example iqn: iqn.2003-01.org.linux-iscsi.array:t1"});
}

TEST_CASE("unknown and duplicate keys") {
  CHECK(errors(replaced(kGood, "portals:", "portal:")) ==
        Lines{"f:6:5: targets[0].portals: is missing; for example portals: [\"192.0.2.10:3260\"]",
              "f:8:5: targets[0].portal: unknown key; did you mean portals?"});
  CHECK(errors(kGood + "zebra: 1\n") == Lines{"f:13:1: zebra: unknown key; here may stand listen, admin, limits, "
                                              "workers, log, state_dir, initiator, targets or exports"});
  CHECK(errors(replaced(kGood, "    lun: 1\n", "    lun: 1\n    lun: 2\n")) ==
        Lines{"f:13:5: exports[0].lun: is given twice, first in line 12; keep one of the two"});
  CHECK(errors(kGood + "listen:\n  nbd: [\"tcp://[::1]\"]\n") ==
        Lines{"f:13:1: listen: is given twice, first in line 1; keep one of the two"});
  CHECK(errors(kGood + "? [a, b]\n: 1\n") == Lines{"f:13:3: a key must be a single word"});
  CHECK(errors(kGood + "<<: {log: {}}\n")[0].starts_with("f:13:1: <<: unknown key"));
}

TEST_CASE("wrong types") {
  const auto with_target = [](const std::string& line) {
    return errors(replaced(kGood, "exports:\n", "    " + line + "\nexports:\n"));
  };
  CHECK(with_target("connections: four") ==
        Lines{"f:9:18: targets[0].connections: expected a whole number from 1 to 32, found \"four\""});
  CHECK(
      with_target("connections: \"4\"") ==
      Lines{"f:9:18: targets[0].connections: expected a whole number from 1 to 32 without quotes or a tag, found the "
            "text \"4\""});
  CHECK(with_target("connections: [4]") ==
        Lines{"f:9:18: targets[0].connections: expected a whole number from 1 to 32, found a list"});
  CHECK(with_target("connections:") ==
        Lines{"f:9:5: targets[0].connections: expected a whole number from 1 to 32, found no value"});
  CHECK(with_target("connections: 33").size() == 1);
  CHECK(with_target("connections: 0").size() == 1);
  CHECK(with_target("connections: 32").empty());
  CHECK(with_target("immediate_data: yes") ==
        Lines{"f:9:21: targets[0].immediate_data: expected true or false, found \"yes\""});
  CHECK(with_target("initial_r2t: true").empty());
  CHECK(
      with_target("first_burst: 64KB") ==
      Lines{"f:9:18: targets[0].first_burst: expected a size from 512B to 16777215B, found \"64KB\" (a whole number "
            "with B, KiB, MiB, GiB or TiB right behind it)"});
  CHECK(with_target("first_burst: \"64KiB\"").empty());  // as templates quote it
  CHECK(with_target("first_burst: [64KiB]") ==
        Lines{"f:9:18: targets[0].first_burst: expected a size from 512B to 16777215B, found a list"});
  CHECK(with_target("first_burst: 256") ==
        Lines{"f:9:18: targets[0].first_burst: expected a size from 512B to 16777215B, found \"256\""});
  CHECK(with_target("data_digest: CRC32C") ==
        Lines{"f:9:18: targets[0].data_digest: expected none, prefer-crc32c or crc32c, found \"CRC32C\""});
  CHECK(with_target("data_digest: crc32").back().ends_with("; did you mean crc32c?"));
  CHECK(with_target("timeouts: 15s") ==
        Lines{"f:9:15: targets[0].timeouts: expected a mapping with the keys command, slow_command, abort, lu_reset, "
              "target_reset, "
              "nop_interval, nop_timeout, login, logout or replacement, found \"15s\""});
  CHECK(with_target("timeouts: {login: 15}") == Lines{"f:9:23: targets[0].timeouts.login: expected a time from 1s to "
                                                      "10min, found \"15\" (a whole number with us, "
                                                      "ms, s, min or h right behind it)"});
  CHECK(with_target("timeouts: {nop_interval: 0s, login: 1s}").empty());
  CHECK(errors(replaced(kGood, "[\"192.0.2.10:3260\"]", "192.0.2.10:3260")) ==
        Lines{"f:8:14: targets[0].portals: expected a list of portals such as \"192.0.2.10:3260\", found "
              "\"192.0.2.10:3260\""});
  CHECK(errors(replaced(kGood, "name: vol0", "name: [vol0]")) ==
        Lines{"f:10:11: exports[0].name: expected a text, found a list"});
  CHECK(errors(replaced(kGood, "name: vol0", "name: \"\"")) ==
        Lines{"f:10:11: exports[0].name: expected a text, found an empty one"});
}

TEST_CASE("values that cannot be") {
  CHECK(
      errors(replaced(kGood, "tcp://127.0.0.1:10809", "127.0.0.1:10809")) ==
      Lines{"f:2:9: listen.nbd[0]: \"127.0.0.1:10809\": expected tcp://HOST:PORT or unix:///PATH, or systemd:NAME"});
  CHECK(errors(replaced(kGood, "\"tcp://127.0.0.1:10809\"", "\"tcp://127.0.0.1:10809\", \"tcp://127.0.0.1\"")) ==
        Lines{"f:2:34: listen.nbd[1]: \"tcp://127.0.0.1\" is in the list twice"});
  CHECK(
      errors(replaced(kGood, "[\"tcp://127.0.0.1:10809\"]", "[]")) ==
      Lines{"f:2:8: listen.nbd: expected a list of addresses such as \"tcp://127.0.0.1:10809\", found an empty one"});
  CHECK(errors(replaced(kGood, "iqn.2026-11.com.example:host-1", "host-1")) ==
        Lines{"f:4:9: initiator.name: \"host-1\": an iSCSI name begins with iqn., eui. or naa.; expected "
              "iqn.YEAR-MONTH.DOMAIN:TEXT, such as iqn.2026-11.com.example:host-1"});
  CHECK(errors(replaced(kGood, "target: array", "target: aray")) ==
        Lines{"f:11:13: exports[0].target: no target is called \"aray\"; did you mean array?"});
  CHECK(errors(replaced(kGood, "lun: 1", "lun: 16384")) ==
        Lines{"f:12:10: exports[0].lun: expected a whole number from 0 to 16383, found \"16384\""});
  CHECK(
      errors(replaced(kGood, "exports:\n", "    first_burst: 2MiB\nexports:\n")) ==
      Lines{
          "f:9:18: targets[0].first_burst: first_burst (2097152 bytes) must not be above max_burst (1048576 bytes)"});
  CHECK(errors(replaced(kGood, "exports:\n", "    max_burst: 64KiB\nexports:\n")) ==
        Lines{"f:9:16: targets[0].max_burst: first_burst (262144 bytes) must not be above max_burst (65536 bytes)"});
  const std::size_t exports = kGood.find("exports:");
  CHECK(errors(kGood.substr(0, exports)) == Lines{"f:1:1: exports: is missing; for example exports: a list of {name, "
                                                  "target, lun}; without one there is nothing to serve"});
  CHECK(
      errors(kGood.substr(0, exports) + "exports: []\n") ==
      Lines{"f:9:10: exports: expected a list of exports with name, target and lun; without one there is nothing to "
            "serve, found an empty one"});
}

TEST_CASE("two of a kind") {
  CHECK(errors(kGood + "  - {name: vol0, target: array, lun: 2}\n") ==
        Lines{"f:13:12: exports[1].name: another export is called \"vol0\""});
  CHECK(
      errors(kGood + "  - {name: vol1, target: array, lun: 1, read_only: true}\n") ==
      Lines{
          "f:13:38: exports[1].lun: export \"vol0\" is this logical unit already; overlapping writes are kept apart "
          "within one export only"});
  const std::string second =
      "  - {name: array, iqn: \"iqn.2003-01.org.linux-iscsi.array:t1\", portals: [192.0.2.11]}\n";
  const Lines found = errors(replaced(kGood, "exports:\n", second + "exports:\n"));
  REQUIRE(found.size() == 2);
  CHECK(found[0] == "f:9:12: targets[1].name: another target is called \"array\"; give each its own name");
  CHECK(
      found[1].starts_with("f:9:24: targets[1].iqn: this is target \"array\" again; name all of its portals there"));
}

TEST_CASE("limits and workers") {
  const auto with = [](const std::string& text) { return parse(kGood + text, "f", MemoryFiles()); };
  const ParseResult good = with(
      "limits: {connections: 8, handshake_timeout: 2s, in_flight_per_connection: 16, memory: "
      "80MiB, stall_timeout: 1h}\nworkers: 2\nlog: {level: debug}\n");
  REQUIRE(strings(good.errors) == Lines{});
  CHECK(good.config->limits == Limits{8, 2 * kSecond, 16, 80ULL << 20, 3600 * kSecond});
  CHECK(good.config->workers == 2);
  CHECK(good.config->log.level == LogLevel::debug);
  CHECK(with("workers: auto\n").config->workers == 0);
  CHECK(with("limits: {memory: 64MiB}\n").config->limits.stall_timeout == 60 * kSecond);
  for (const std::string wrong : {"999ms", "3601s"}) {
    CHECK(strings(with("limits: {stall_timeout: " + wrong + "}\n").errors) ==
          Lines{"f:13:25: limits.stall_timeout: expected a time from 1s to 1h, found \"" + wrong + "\""});
  }
  CHECK(strings(with("limits: {memory: 39MiB}\n").errors) ==
        Lines{"f:13:18: limits.memory: expected a size from 40MiB to 1TiB, found \"39MiB\""});
  CHECK(strings(with("workers: 2\n").errors) ==
        Lines{"f:13:10: workers: 2 workers need limits.memory: 80MiB at least (40MiB each, for one request may carry "
              "32MiB); there are 64MiB"});
  CHECK(strings(with("workers: some\n").errors) ==
        Lines{"f:13:10: workers: expected auto, or a whole number from 1 to 256, found \"some\""});
  CHECK(strings(with("log: {level: warning}\n").errors) ==
        Lines{"f:13:14: log.level: expected trace, debug, info, warn or error, found \"warning\""});
}

TEST_CASE("a folder for what outlives a crash") {
  const auto with = [](const std::string& text) { return parse(kGood + text, "f", MemoryFiles()); };
  CHECK(parse(kGood, "f", MemoryFiles()).config->state_dir.empty());
  CHECK(with("state_dir: /run/here\n").config->state_dir == "/run/here");
  CHECK(strings(with("state_dir: here\n").errors) ==
        Lines{"f:13:12: state_dir: expected an absolute path, found \"here\""});
}

TEST_CASE("how many workers") {
  Config config = *parse(kGood, "f", MemoryFiles()).config;
  config.limits.memory = 1ULL << 30;
  CHECK(worker_count(config, 8) == 1);  // one target in use
  config.targets.push_back(config.targets[0]);
  CHECK(worker_count(config, 8) == 1);  // the second one is not used
  config.exports.push_back(config.exports[0]);
  config.exports[1].target = 1;
  CHECK(worker_count(config, 8) == 2);
  CHECK(worker_count(config, 1) == 1);
  CHECK(worker_count(config, 0) == 1);
  config.limits.memory = 79ULL << 20;
  CHECK(worker_count(config, 8) == 1);
  config.workers = 5;
  CHECK(worker_count(config, 1) == 5);
}

TEST_CASE("warnings do not stop it") {
  const std::string open = replaced(kGood, "tcp://127.0.0.1:10809", "tcp://0.0.0.0:10809");
  const ParseResult listening = parse(open, "f", MemoryFiles());
  CHECK(listening.config);
  REQUIRE(listening.warnings.size() == 1);
  CHECK(listening.warnings[0].to_string().starts_with(
      "f:2:9: listen.nbd[0]: whoever reaches tcp://0.0.0.0:10809 can "));
  const std::string unused = "  - {name: other, iqn: \"iqn.2003-01.org.example:t2\", portals: [192.0.2.11]}\n";
  const ParseResult spare = parse(replaced(kGood, "exports:\n", unused + "exports:\n"), "f", MemoryFiles());
  CHECK(spare.config);
  CHECK(strings(spare.warnings) ==
        Lines{"f:9:5: targets[1]: no export uses target \"other\"; it will not be logged in to"});
}

TEST_CASE("an unreadable configuration file") {
  MemoryFiles files;
  CHECK(strings(load("/etc/nbdgw.yaml", files).errors) ==
        Lines{"/etc/nbdgw.yaml: cannot be read: No such file or directory"});
  files.files["/etc/nbdgw.yaml"] = {kGood, 0644, ""};
  CHECK(load("/etc/nbdgw.yaml", files).config);
}
