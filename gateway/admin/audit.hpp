#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace nbdgw::admin {

/// Whatever can be changed over the admin API. The names are those of openapi.yaml.
enum class Verb : std::uint8_t {
  drain,
  undrain,
  set_export_state,
  rescan_export,
  disconnect_client,
  abort_task,
  abort_task_set,
  clear_task_set,
  reset_lun,
  reset_target,
  reset_session,
  drop_connection,
  set_log_level,
  reload_config,
  post_fault,
  delete_fault,
};
inline constexpr std::size_t kVerbs = static_cast<std::size_t>(Verb::delete_fault) + 1;

enum class ChangeOutcome : std::uint8_t { accepted, refused, dry_run };
inline constexpr std::size_t kChangeOutcomes = static_cast<std::size_t>(ChangeOutcome::dry_run) + 1;

const char* to_string(Verb verb) noexcept;
const char* to_string(ChangeOutcome outcome) noexcept;

/// A change that somebody wants.
struct Change {
  Verb verb{};
  std::string object;  // "export vol0"
  bool dry_run = false;
  std::string who;  // Request::peer
};

/// Who wanted what, and what came of it: a line in the log for each, and numbers for the metrics. Any thread.
class Audit {
 public:
  /// `outcome` says dry_run only of one that would have been accepted. `detail`: for people.
  void record(const Change& change, ChangeOutcome outcome, std::string_view detail) noexcept;

  std::uint64_t count(Verb verb, ChangeOutcome outcome) const noexcept {
    return counts_[static_cast<std::size_t>(verb)][static_cast<std::size_t>(outcome)].load(std::memory_order_relaxed);
  }

 private:
  std::array<std::array<std::atomic<std::uint64_t>, kChangeOutcomes>, kVerbs> counts_{};
};

}  // namespace nbdgw::admin
