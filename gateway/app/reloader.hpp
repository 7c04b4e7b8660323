#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "config/parse.hpp"
#include "gateway/control/gateway.hpp"
#include "gateway/control/reload.hpp"

namespace nbdgw::app {

/// Reads the configuration file again, with the secrets and certificates that it names, and has a running gateway
/// apply it: for SIGHUP and for the admin API. What comes of it is logged line by line.
class Reloader {
 public:
  /// The gateway runs with what was in the file a moment ago, and must outlive the reloader.
  Reloader(std::string config_file, control::Gateway& gateway);

  /// Somebody else who has part in a reload: gets the configuration as it will be in force, and returns what is to be
  /// done once it is, on the gateway's control thread. Called on the thread that asks for the reload, of dry runs,
  /// too. What it throws (std::exception) is an error in the file.
  using Participant = std::function<std::function<void()>(const config::Config&)>;
  /// Before the first reload.
  void set_participant(Participant participant) { participant_ = std::move(participant); }

  /// From any thread. Reads the file on this one; does not wait for the gateway. `done` is called once: here if the
  /// file is bad, else on the gateway's control thread; or it is destroyed uncalled when the gateway ends before
  /// that.
  void reload(bool dry_run, control::OnReload done = {});

  /// From any thread.
  control::ReloadCounts counts() const;

 private:
  /// Shared with what waits for the gateway's answer, which may come when the reloader has gone.
  struct History {
    std::uint64_t begin();
    /// The end of the one that has this number; one that was asked for earlier may end later.
    void note(std::uint64_t number, const control::ReloadOutcome& outcome);

    std::mutex mutex;
    control::ReloadCounts counts;
    std::uint64_t asked = 0;
    std::uint64_t last = 0;  // the highest number of those that have ended
  };

  std::function<void()> prepare(config::ParseResult& file) const;

  const std::string config_file_;
  control::Gateway& gateway_;
  Participant participant_;
  const std::shared_ptr<History> history_ = std::make_shared<History>();
};

}  // namespace nbdgw::app
