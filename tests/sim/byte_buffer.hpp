#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

namespace nbdgw::sim {

using Bytes = std::span<const std::uint8_t>;

/// Bytes that keep their room when they are taken away. New ones are not filled with zeroes.
class ByteBuffer {
 public:
  std::uint8_t* data() noexcept { return data_.get(); }
  const std::uint8_t* data() const noexcept { return data_.get(); }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  Bytes view() const noexcept { return {data_.get(), size_}; }
  void clear() noexcept { size_ = 0; }

  /// `n` more at the end, to be written to.
  std::uint8_t* grow(std::size_t n) {
    if (size_ + n > room_) {
      room_ = std::max(2 * room_, size_ + n);
      auto larger = std::make_unique_for_overwrite<std::uint8_t[]>(room_);
      if (size_ > 0) std::memcpy(larger.get(), data_.get(), size_);
      data_ = std::move(larger);
    }
    size_ += n;
    return data_.get() + size_ - n;
  }
  void append(Bytes bytes) {
    if (!bytes.empty()) std::memcpy(grow(bytes.size()), bytes.data(), bytes.size());
  }
  void append_zeroes(std::size_t n) {
    if (n > 0) std::memset(grow(n), 0, n);
  }

 private:
  std::unique_ptr<std::uint8_t[]> data_;
  std::size_t size_ = 0;
  std::size_t room_ = 0;
};

}  // namespace nbdgw::sim
