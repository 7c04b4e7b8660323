#include "gateway/app/reloader.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <doctest/doctest.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "gateway/app/commands.hpp"

using namespace nbdgw;
using app::Reloader;
using control::ReloadOutcome;

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

  /// The same with more keys for the target.
  void write_targets(const std::string& more) const {
    std::ofstream(file) << "listen: {nbd: [\"tcp://127.0.0.1:0\"]}\n"
                        << "initiator: {name: iqn.2026-11.io.nbdgw:test}\n"
                        << "targets: [{name: t, iqn: \"iqn.2026-11.io.nbdgw:t\", portals: [\"127.0.0.1:1\"], " << more
                        << "}]\n"
                        << "exports: [{name: vol0, target: t, lun: 1}]\n";
  }

  ReloadOutcome reload(bool dry_run = false) {
    auto promise = std::make_shared<std::promise<ReloadOutcome>>();
    auto result = promise->get_future();
    reloader->reload(dry_run, [promise](ReloadOutcome what) { promise->set_value(std::move(what)); });
    return result.get();
  }

  std::string file;
  std::optional<control::Gateway> gateway;
  std::optional<Reloader> reloader;
};

}  // namespace

TEST_CASE("reloader: a good file is applied, and counted") {
  Served served;
  const std::int64_t first = served.reloader->counts().loaded_at;
  CHECK(first > 0);
  CHECK(served.reloader->counts().last_succeeded);
  served.write("vol1", "info");
  const ReloadOutcome dry = served.reload(true);
  CHECK(dry.kind == ReloadOutcome::Kind::planned);
  CHECK(dry.errors.empty());
  CHECK(describe(dry) == "3 change(s), 0 that need a restart");
  CHECK(dry.diff.changes.size() == 3);  // one export for another, and which one is the default
  CHECK(served.gateway->config()->exports[0].name == "vol0");
  CHECK(served.reloader->counts().succeeded == 0);
  CHECK(served.reloader->counts().loaded_at == first);
  CHECK(served.reload().diff.changes == dry.diff.changes);
  CHECK(served.gateway->config()->exports[0].name == "vol1");
  CHECK(served.reloader->counts().succeeded == 1);
  CHECK(served.reloader->counts().failed == 0);
  CHECK(served.reloader->counts().loaded_at > first);
  CHECK(served.reloader->counts().last_succeeded);
  CHECK(served.reload().diff.empty());
}

TEST_CASE("reloader: all that is wrong with a file is told, and nothing is changed") {
  Served served;
  const std::int64_t first = served.reloader->counts().loaded_at;
  served.write("vol1", "loud", "nonsense: 1\n");
  for (const bool dry_run : {true, false}) {
    CHECK(served.reloader->counts().last_succeeded);
    const ReloadOutcome result = served.reload(dry_run);
    CHECK(result.kind == ReloadOutcome::Kind::wrong);
    CHECK(describe(result) == "the configuration has 2 error(s); nothing was changed");
    CHECK(result.errors.size() == 2);
    CHECK(result.diff.empty());
  }
  ::unlink(served.file.c_str());
  CHECK(served.reload().errors.size() == 1);
  CHECK(served.gateway->config()->exports[0].name == "vol0");
  CHECK(served.reloader->counts().succeeded == 0);
  CHECK(served.reloader->counts().failed == 2);
  CHECK(served.reloader->counts().loaded_at == first);
  CHECK_FALSE(served.reloader->counts().last_succeeded);
  served.write("vol1", "info");
  served.reload(true);
  CHECK_FALSE(served.reloader->counts().last_succeeded);
  served.reload();
  CHECK(served.reloader->counts().last_succeeded);
}

TEST_CASE("reloader: of two that overlap the one that was asked for last counts, whichever ends last") {
  for (int round = 0; round < 20; ++round) {
    Served served;
    served.write("vol1", "info");
    std::promise<void> done;
    served.reloader->reload(false, [&](const ReloadOutcome& result) {
      CHECK(result.errors.empty());
      done.set_value();
    });
    served.write("vol2", "loud");
    CHECK(served.reload().errors.size() == 1);  // told before or after the first one is applied
    done.get_future().wait();
    CHECK(served.reloader->counts().succeeded == 1);
    CHECK(served.reloader->counts().failed == 1);
    CHECK_FALSE(served.reloader->counts().last_succeeded);
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
  control::Gateway& gateway = *served.gateway;
  bool asked = false;
  // The drain is over in no time. What is asked for behind it is answered, or destroyed uncalled, but never applied.
  gateway.drain();
  auto promise = std::make_shared<std::promise<ReloadOutcome>>();
  auto result = promise->get_future();
  served.reloader->reload(false,
                          [kept = std::move(promise)](ReloadOutcome what) { kept->set_value(std::move(what)); });
  gateway.wait();
  served.gateway.reset();
  try {
    const ReloadOutcome answer = result.get();
    asked = true;
    CHECK(describe(answer) == "the gateway is shutting down");
    CHECK(served.reloader->counts().failed == 1);
  } catch (const std::future_error&) {
    CHECK_FALSE(asked);
  }
  CHECK(served.reloader->counts().succeeded == 0);
}

TEST_CASE("reloader: secrets are read again, though the file that names them is the same") {
  char folder[] = "/tmp/nbdgw-reloader-XXXXXX";
  REQUIRE(::mkdtemp(folder) != nullptr);
  const std::string secret = std::string(folder) + "/secret";
  const auto write_secret = [&](const std::string& text) {
    std::ofstream(secret) << text << "\n";
    REQUIRE(::chmod(secret.c_str(), 0600) == 0);
  };
  write_secret("the first secret");
  Served served;
  served.write_targets("auth: {chap: {user: me, secret_file: \"" + secret + "\"}}");
  CHECK(served.reload().errors.empty());
  CHECK(served.reload().diff.empty());

  write_secret("another secret");
  const ReloadOutcome changed = served.reload();
  REQUIRE(changed.diff.changes.size() == 1);
  CHECK(changed.diff.changes[0].effect == control::ChangeEffect::in_place);
  CHECK(served.gateway->config()->targets[0].chap->credentials.secret == "another secret");
  CHECK(served.reload().diff.empty());

  for (const bool there : {true, false}) {  // open to everybody, and gone
    if (there) {
      REQUIRE(::chmod(secret.c_str(), 0644) == 0);
    } else {
      REQUIRE(::unlink(secret.c_str()) == 0);
    }
    const ReloadOutcome result = served.reload();
    REQUIRE(result.errors.size() == 1);
    CHECK(result.errors[0].key == "targets[0].auth.chap.secret_file");
    CHECK(result.errors[0].text.find(secret) != std::string::npos);
    CHECK(served.gateway->config()->targets[0].chap->credentials.secret == "another secret");
    CHECK_FALSE(served.reloader->counts().last_succeeded);
  }
  CHECK(::rmdir(folder) == 0);
}

TEST_CASE("reloader: another part of the program may refuse a configuration, or act when it is in force") {
  Served served;
  std::atomic<int> done{0};
  bool refuses = false;
  served.reloader->set_participant([&](const config::Config&) {
    if (refuses) throw std::runtime_error("not with me");
    return [&done] { ++done; };
  });
  char folder[] = "/tmp/nbdgw-reloader-XXXXXX";
  REQUIRE(::mkdtemp(folder) != nullptr);
  const std::string token = std::string(folder) + "/token";
  const auto write_token = [&](const std::string& text) {
    std::ofstream(token) << text << "\n";
    REQUIRE(::chmod(token.c_str(), 0600) == 0);
  };
  write_token("a-token-of-sixteen");
  served.write("vol0", "info", "admin: {token_file: \"" + token + "\"}\n");
  CHECK(served.reload().diff.needs_restart == std::vector<std::string>{"admin.token_file"});
  CHECK(done == 0);
  refuses = true;
  served.write("vol1", "info");
  const ReloadOutcome refused = served.reload();
  REQUIRE(refused.errors.size() == 1);
  CHECK(refused.errors[0].text == "not with me");
  CHECK(served.gateway->config()->exports[0].name == "vol0");
  refuses = false;
  CHECK(served.reload().errors.empty());
  CHECK(done == 0);  // nothing of the admin server's has changed
  ::unlink(token.c_str());
  CHECK(::rmdir(folder) == 0);
}
