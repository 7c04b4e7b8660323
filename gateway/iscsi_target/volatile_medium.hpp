#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>

#include "gateway/iscsi_target/medium.hpp"

namespace nbdgw::iscsi_target {

/// A medium with a write cache that can lose power: lose_unflushed() takes back what was written, zeroed or discarded
/// since the last flush. Everything goes through to the medium below at once; what it replaces is remembered.
class VolatileMedium final : public Medium {
 public:
  /// In blocks of this size, which need not be written as a whole.
  static constexpr std::size_t kBlock = 4096;
  /// Bytes that are remembered. Beyond, those that were written first count as flushed, as those of a cache that is
  /// full.
  static constexpr std::size_t kMaxRemembered = 64 * 1024 * 1024;

  /// `below` must outlive it.
  explicit VolatileMedium(Medium& below, std::size_t max_remembered = kMaxRemembered) noexcept
      : below_(below), max_blocks_(max_remembered / kBlock) {}

  std::uint64_t size() const noexcept override { return below_.size(); }
  std::uint32_t discard_granularity() const noexcept override { return below_.discard_granularity(); }
  MediumResult read(std::uint64_t offset, std::span<const iovec> to) override { return below_.read(offset, to); }
  MediumResult write(std::uint64_t offset, std::span<const iovec> from) override;
  MediumResult flush() override;
  MediumResult flush_range(std::uint64_t offset, std::uint64_t length) override;
  MediumResult discard(std::uint64_t offset, std::uint64_t length) override;
  MediumResult write_zeroes(std::uint64_t offset, std::uint64_t length) override;
  MediumExtent extent(std::uint64_t offset, std::uint64_t length) override { return below_.extent(offset, length); }
  /// What cannot be written back stays as it is.
  void lose_unflushed() override;

  /// Blocks whose old content is remembered.
  std::size_t remembered() const noexcept { return old_.size(); }

 private:
  using Bytes = std::array<std::byte, kBlock>;
  /// What a block was.
  struct Old {
    std::uint64_t block = 0;
    std::unique_ptr<Bytes> bytes;  // null: a hole
  };

  MediumResult remember(std::uint64_t offset, std::uint64_t length, bool only_mapped) noexcept;
  MediumResult remember_block(std::uint64_t block);
  void forget(std::uint64_t block) noexcept;
  void forget_all() noexcept;
  std::uint64_t length_of(std::uint64_t block) const noexcept;

  Medium& below_;
  const std::size_t max_blocks_;
  std::list<Old> old_;  // the oldest first
  std::unordered_map<std::uint64_t, std::list<Old>::iterator> by_block_;
};

}  // namespace nbdgw::iscsi_target
