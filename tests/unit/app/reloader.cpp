#include "gateway/app/reloader.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <doctest/doctest.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <fstream>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "gateway/app/commands.hpp"

using namespace nbdgw;
using app::Reloader;
using app::ReloadResult;

namespace {

/// A gateway, of whose target nobody has ever heard, and its configuration file.
class Served {
 public:
  Served() {
    std::string path = "/tmp/nbdgw-reloader-XXXXXX";
    ::close(::mkstemp(path.data()));
    file = path;
    write("vol0", "info");
    gateway.emplace(app::load_config(file).value());
    gateway->start();
    reloader.emplace(file, *gateway);
  }
  ~Served() {
    gateway.reset();
    ::unlink(file.c_str());
    spdlog::set_level(spdlog::level::info);
  }

  void write(const std::string& name, const std::string& level, const std::string& more = "") const {
    std::ofstream(file) << "listen: {nbd: [\"tcp://127.0.0.1:0\"]}\n"
                        << "initiator: {name: iqn.2026-11.io.nbdgw:test}\n"
                        << "log: {level: " << level << "}\n"
                        << "targets: [{name: t, iqn: \"iqn.2026-11.io.nbdgw:t\", portals: [\"127.0.0.1:1\"]}]\n"
                        << "exports: [{name: " << name << ", target: t, lun: 1}]\n"
                        << more;
  }

  ReloadResult reload(bool dry_run = false) {
    auto promise = std::make_shared<std::promise<ReloadResult>>();
    auto result = promise->get_future();
    reloader->reload(dry_run, [promise](ReloadResult what) { promise->set_value(std::move(what)); });
    return result.get();
  }

  std::string file;
  std::optional<net::Gateway> gateway;
  std::optional<Reloader> reloader;
};

}  // namespace

TEST_CASE("reloader: a good file is applied, and counted") {
  Served served;
  const std::int64_t first = served.reloader->loaded_at();
  CHECK(first > 0);
  CHECK(served.reloader->last_succeeded());
  served.write("vol1", "info");
  const ReloadResult dry = served.reload(true);
  CHECK(dry.errors.empty());
  CHECK(dry.refused.empty());
  CHECK(dry.diff.changes.size() == 3);  // one export for another, and which one is the default
  CHECK(served.gateway->config()->exports[0].name == "vol0");
  CHECK(served.reloader->succeeded() == 0);
  CHECK(served.reloader->loaded_at() == first);
  CHECK(served.reload().diff.changes == dry.diff.changes);
  CHECK(served.gateway->config()->exports[0].name == "vol1");
  CHECK(served.reloader->succeeded() == 1);
  CHECK(served.reloader->failed() == 0);
  CHECK(served.reloader->loaded_at() > first);
  CHECK(served.reloader->last_succeeded());
  CHECK(served.reload().diff.empty());
}

TEST_CASE("reloader: all that is wrong with a file is told, and nothing is changed") {
  Served served;
  const std::int64_t first = served.reloader->loaded_at();
  served.write("vol1", "loud", "nonsense: 1\n");
  for (const bool dry_run : {true, false}) {
    CHECK(served.reloader->last_succeeded());
    const ReloadResult result = served.reload(dry_run);
    CHECK(result.errors.size() == 2);
    CHECK(result.diff.empty());
  }
  ::unlink(served.file.c_str());
  CHECK(served.reload().errors.size() == 1);
  CHECK(served.gateway->config()->exports[0].name == "vol0");
  CHECK(served.reloader->succeeded() == 0);
  CHECK(served.reloader->failed() == 2);
  CHECK(served.reloader->loaded_at() == first);
  CHECK_FALSE(served.reloader->last_succeeded());
  served.write("vol1", "info");
  served.reload(true);
  CHECK_FALSE(served.reloader->last_succeeded());
  served.reload();
  CHECK(served.reloader->last_succeeded());
}

TEST_CASE("reloader: of two that overlap the one that was asked for last counts, whichever ends last") {
  for (int round = 0; round < 20; ++round) {
    Served served;
    served.write("vol1", "info");
    std::promise<void> done;
    served.reloader->reload(false, [&](const ReloadResult& result) {
      CHECK(result.errors.empty());
      done.set_value();
    });
    served.write("vol2", "loud");
    CHECK(served.reload().errors.size() == 1);  // told before or after the first one is applied
    done.get_future().wait();
    CHECK(served.reloader->succeeded() == 1);
    CHECK(served.reloader->failed() == 1);
    CHECK_FALSE(served.reloader->last_succeeded());
  }
}

TEST_CASE("reloader: the log level changes with the file, and only then") {
  Served served;
  spdlog::set_level(spdlog::level::err);  // as an operator may have done
  served.reload();
  CHECK(spdlog::get_level() == spdlog::level::err);
  served.write("vol0", "warn");
  served.reload(true);
  CHECK(spdlog::get_level() == spdlog::level::err);
  served.reload();
  CHECK(spdlog::get_level() == spdlog::level::warn);
}

TEST_CASE("reloader: a gateway that shuts down says so") {
  Served served;
  net::Gateway& gateway = *served.gateway;
  bool asked = false;
  // The drain is over in no time. What is asked for behind it is answered, or destroyed uncalled, but never applied.
  gateway.drain();
  auto promise = std::make_shared<std::promise<ReloadResult>>();
  auto result = promise->get_future();
  served.reloader->reload(false,
                          [kept = std::move(promise)](ReloadResult what) { kept->set_value(std::move(what)); });
  gateway.wait();
  served.gateway.reset();
  try {
    const ReloadResult answer = result.get();
    asked = true;
    CHECK(answer.refused == "the gateway is shutting down");
    CHECK(served.reloader->failed() == 1);
  } catch (const std::future_error&) {
    CHECK_FALSE(asked);
  }
  CHECK(served.reloader->succeeded() == 0);
}
