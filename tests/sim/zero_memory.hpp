#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nbdgw::sim {

/// Memory full of zeroes, for what is large and mostly stays as it is. It is used again by later ones: only what was
/// written to has to be cleared then.
class ZeroMemory {
 public:
  ZeroMemory() = default;
  explicit ZeroMemory(std::size_t size) { resize(size); }
  ~ZeroMemory() { give_back(); }
  ZeroMemory(const ZeroMemory&) = delete;
  ZeroMemory& operator=(const ZeroMemory&) = delete;

  std::size_t size() const noexcept { return size_; }
  const std::uint8_t* data() const noexcept { return memory_; }
  /// To write to these bytes.
  std::uint8_t* write(std::size_t at, std::size_t n) noexcept {
    if (n > 0) {
      for (std::size_t part = at / kPart; part <= (at + n - 1) / kPart; ++part) written_[part] = 1;
    }
    return memory_ + at;
  }
  /// How many bytes from there on, up to `most`, have surely never been written to: they are zero.
  std::size_t untouched(std::size_t at, std::size_t most) const noexcept {
    std::size_t end = at;
    while (end < at + most && written_[end / kPart] == 0) end = (end / kPart + 1) * kPart;
    return end < at + most ? end - at : most;
  }
  /// What is there stays, and what is new is zero.
  void resize(std::size_t size);
  /// Zeroes again, so many of them.
  void restart(std::size_t size) {
    give_back();
    resize(size);
  }

 private:
  static constexpr std::size_t kPart = 4096;

  void give_back() noexcept;

  std::uint8_t* memory_ = nullptr;
  std::size_t room_ = 0;
  std::size_t size_ = 0;
  std::vector<std::uint8_t> written_;  // by part
};

}  // namespace nbdgw::sim
