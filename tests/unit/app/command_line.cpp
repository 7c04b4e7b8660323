#include "gateway/app/command_line.hpp"

#include <filesystem>
#include <vector>

#include <doctest/doctest.h>

#include "gateway/app/exit_codes.hpp"

using namespace nbdgw::app;

namespace {

int run(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "nbdgw");
  return run_command_line(static_cast<int>(arguments.size()), arguments.data());
}

std::string example(const std::string& name) {
  const auto root = std::filesystem::path(NBDGW_SOURCE_DIR);
  return (root / "config/examples" / name).string();
}

}  // namespace

TEST_CASE("exit codes of the commands that start nothing") {
  CHECK(run({"version"}) == kSuccess);
  CHECK(run({"--help"}) == kSuccess);
  CHECK(run({"serve", "--help"}) == kSuccess);
  CHECK(run({"check", "-c", example("minimal.yaml").c_str()}) == kSuccess);
  CHECK(run({"check", "-c", "/nowhere/nbdgw.yaml"}) == kBadUsage);
  CHECK(run({"serve", "-c", "/nowhere/nbdgw.yaml"}) == kBadUsage);
}

TEST_CASE("ctl: a gateway that is not there is a failure, not a crash") {
  CHECK(run({"ctl", "--help"}) == kSuccess);
  CHECK(run({"ctl", "-a", "http://127.0.0.1:1", "status"}) == kFailed);
  CHECK(run({"ctl", "-a", "unix:///nowhere/admin.sock", "events", "--follow"}) == kFailed);
  CHECK(run({"ctl", "-a", "http://127.0.0.1:1", "--token-file", "/nowhere/token", "status"}) == kBadUsage);
}

TEST_CASE("what is wrong with a command line is found before anything runs") {
  for (const std::vector<const char*>& words : {std::vector<const char*>{},
                                                {"stauts"},
                                                {"tasks"},
                                                {"abort", "array"},
                                                {"abort", "array", "x"},
                                                {"reset"},
                                                {"reset", "lun", "array"},
                                                {"maint"},
                                                {"log", "loud"},
                                                {"log", "--for", "10m"},
                                                {"--cert-file", "c", "status"},
                                                {"-a", "127.0.0.1:9810", "status"},
                                                {"--timeout", "0s", "status"}}) {
    std::vector<const char*> all{"ctl"};
    all.insert(all.end(), words.begin(), words.end());
    CHECK(run(all) == kBadUsage);
  }
  CHECK(run({}) == kBadUsage);
  CHECK(run({"sevre"}) == kBadUsage);
  CHECK(run({"serve"}) == kBadUsage);
  CHECK(run({"version", "more"}) == kBadUsage);
  CHECK(run({"discover"}) == kBadUsage);
  CHECK(run({"discover", "127.0.0.1:0"}) == kBadUsage);
  CHECK(run({"discover", "127.0.0.1", "--chap-user", "me"}) == kBadUsage);
  CHECK(run({"discover", "127.0.0.1", "--initiator", "me"}) == kBadUsage);
  CHECK(run({"demo", "--size", "1000"}) == kBadUsage);
  CHECK(run({"demo", "--listen", "127.0.0.1:10809"}) == kBadUsage);
  for (const char* admin : {"127.0.0.1:9810", "tcp://127.0.0.1:1", "http://0.0.0.0:0", "https://127.0.0.1:0"})
    CHECK(run({"demo", "--admin", admin}) == kBadUsage);
  const char* iqn = "iqn.2026-11.com.example:disk";
  CHECK(run({"target", "--iqn", iqn}) == kBadUsage);
  CHECK(run({"target", "--lun", "memory:size=1MiB"}) == kBadUsage);
  CHECK(run({"target", "--iqn", iqn, "--lun", "memory:size=1"}) == kBadUsage);
  CHECK(run({"target", "--iqn", "disk", "--lun", "memory:size=1MiB"}) == kBadUsage);
  CHECK(run({"target", "--iqn", iqn, "--lun", "memory:size=1MiB", "--listen", "::1"}) == kBadUsage);
  CHECK(run({"target", "--iqn", iqn, "--lun", "memory:size=1MiB", "--mutual-user", "me"}) == kBadUsage);
}
