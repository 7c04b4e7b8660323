#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "gateway/device/command_runner.hpp"
#include "proto/time.hpp"

namespace nbdgw::device {

class LunInventory;

class LunInventoryObserver {
 public:
  /// The list is there, or could not be had: see LunInventory::state(). Called as the last act of a step.
  virtual void on_inventory_done(LunInventory& inventory, proto::Micros now) = 0;

 protected:
  ~LunInventoryObserver() = default;
};

/// Asks a target which LUNs it has: REPORT LUNS to LUN 0, whether or not there is a unit (SPC-5 6.33).
class LunInventory final : private CommandRunner::Owner {
 public:
  enum class State : std::uint8_t { idle, asking, done, failed };

  /// LUNs beyond this many are not looked at.
  static constexpr std::size_t kMaxLuns = 16384;

  /// The transport must outlive this object, and this object must live until command_lent() is false.
  explicit LunInventory(initiator::CommandTransport& transport, LunInventoryObserver* observer = nullptr);

  /// Asks, or asks again: not while a question is out.
  void start(proto::Micros now);

  State state() const noexcept { return state_; }
  /// As the target told them, each the 8 bytes of SAM-5 4.7 as a number; see proto::scsi::decode_lun.
  const std::vector<std::uint64_t>& luns() const noexcept { return luns_; }
  bool contains(std::uint64_t lun) const noexcept;
  /// Why it failed, for people.
  const std::string& failure() const noexcept { return failure_; }

  bool command_lent() const noexcept { return runner_.lent(); }
  proto::Micros next_deadline() const noexcept { return runner_.next_deadline(); }
  void on_deadline(proto::Micros now) { runner_.on_deadline(now); }

 private:
  void on_notes(const Notes&, proto::Micros) override {}
  void on_command_over(const Disposition& disposition, std::span<const std::uint8_t> data,
                       proto::Micros now) override;
  void enter(State state, proto::Micros now);

  CommandRunner runner_;
  LunInventoryObserver* observer_;
  State state_ = State::idle;
  std::uint32_t allocation_length_;
  std::vector<std::uint64_t> luns_;
  std::string failure_;
};

}  // namespace nbdgw::device
