#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>

#include "gateway/iscsi_target/medium.hpp"

namespace nbdgw::iscsi_target {

/// A disk in memory, thin: pages come into being when they are written and go when they are discarded.
class MemoryMedium final : public Medium {
 public:
  static constexpr std::size_t kPageSize = 64 * 1024;

  explicit MemoryMedium(std::uint64_t size) noexcept : size_(size) {}

  std::uint64_t size() const noexcept override { return size_; }
  std::uint32_t discard_granularity() const noexcept override { return kPageSize; }
  MediumResult read(std::uint64_t offset, std::span<const iovec> to) override;
  MediumResult write(std::uint64_t offset, std::span<const iovec> from) override;
  MediumResult flush() override { return MediumResult::ok; }
  MediumResult discard(std::uint64_t offset, std::uint64_t length) override;
  MediumResult write_zeroes(std::uint64_t offset, std::uint64_t length) override;
  MediumExtent extent(std::uint64_t offset, std::uint64_t length) override;

  std::size_t pages() const noexcept { return pages_.size(); }

 private:
  using Page = std::array<std::byte, kPageSize>;

  Page* find(std::uint64_t index) noexcept;
  Page* find_or_make(std::uint64_t index) noexcept;

  std::uint64_t size_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Page>> pages_;
};

}  // namespace nbdgw::iscsi_target
