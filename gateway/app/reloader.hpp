#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/parse.hpp"
#include "gateway/control/gateway.hpp"

namespace nbdgw::app {

/// What came of reading the configuration file again.
struct ReloadResult {
  std::vector<config::Problem> errors;  // of the file; with any, nothing was changed
  std::string refused;                  // why it cannot be done now, and nothing was changed; else empty
  control::ConfigDiff diff;             // what was changed, or, of a dry run, would be
};

/// Reads the configuration file again, with the secrets and certificates that it names, and has a running gateway
/// apply it: for SIGHUP and for the admin API. What comes of it is logged line by line.
class Reloader {
 public:
  using Done = std::function<void(ReloadResult)>;

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
  void reload(bool dry_run, Done done = {});

  // From any thread. Dry runs do not count.
  std::uint64_t succeeded() const noexcept { return history_->succeeded.load(std::memory_order_relaxed); }
  std::uint64_t failed() const noexcept { return history_->failed.load(std::memory_order_relaxed); }
  /// Whether of all that have ended the one that was asked for last did so well: if not, what is in force is not what
  /// somebody wanted. True before the first.
  bool last_succeeded() const noexcept { return (history_->last.load(std::memory_order_relaxed) & 1) != 0; }
  /// When the configuration in force was loaded: microseconds since the epoch.
  std::int64_t loaded_at() const noexcept { return history_->loaded_at.load(std::memory_order_relaxed); }

 private:
  /// Shared with what waits for the gateway's answer, which may come when the reloader has gone.
  struct History {
    void note(std::uint64_t number, bool good) noexcept;

    std::atomic<std::uint64_t> succeeded{0};
    std::atomic<std::uint64_t> failed{0};
    std::atomic<std::int64_t> loaded_at{0};
    std::atomic<std::uint64_t> asked{0};
    std::atomic<std::uint64_t> last{1};  // twice the number of a reload, and 1 if it went well; 0 is the start
  };

  std::function<void()> prepare(config::ParseResult& file) const;

  const std::string config_file_;
  control::Gateway& gateway_;
  Participant participant_;
  const std::shared_ptr<History> history_ = std::make_shared<History>();
};

}  // namespace nbdgw::app
