#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace nbdgw::nbd {

/// Bytes of a client that were received in another process, taken from the front. Large, and rare: only after a
/// restart in which requests were passed on.
class Backlog {
 public:
  std::size_t size() const noexcept { return bytes_.size() - taken_; }
  bool empty() const noexcept { return size() == 0; }
  std::span<const std::uint8_t> rest() const noexcept { return std::span(bytes_).subspan(taken_); }

  void put(std::vector<std::uint8_t> bytes) noexcept {
    bytes_ = std::move(bytes);
    taken_ = 0;
  }
  /// Copies as much as there is and fits. Returns how much.
  std::size_t take(std::span<std::uint8_t> to) noexcept {
    const std::size_t length = std::min(to.size(), size());
    std::ranges::copy(rest().first(length), to.begin());
    taken_ += length;
    if (empty()) put({});
    return length;
  }

 private:
  std::vector<std::uint8_t> bytes_;
  std::size_t taken_ = 0;
};

}  // namespace nbdgw::nbd
