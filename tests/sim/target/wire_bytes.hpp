#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

namespace nbdgw::sim {

// Numbers and bytes as they are on the wire. Not the project's own: what is wrong there must not be wrong here, too.

using Bytes = std::span<const std::uint8_t>;

inline std::uint16_t be16(const std::uint8_t* from) noexcept {
  return static_cast<std::uint16_t>((from[0] << 8) | from[1]);
}
inline std::uint32_t be24(const std::uint8_t* from) noexcept {
  return (std::uint32_t{from[0]} << 16) | (std::uint32_t{from[1]} << 8) | from[2];
}
inline std::uint32_t be32(const std::uint8_t* from) noexcept {
  return (std::uint32_t{from[0]} << 24) | be24(from + 1);
}
inline std::uint64_t be64(const std::uint8_t* from) noexcept {
  return (std::uint64_t{be32(from)} << 32) | be32(from + 4);
}

inline void put_be16(std::uint8_t* to, std::uint32_t value) noexcept {
  to[0] = static_cast<std::uint8_t>(value >> 8);
  to[1] = static_cast<std::uint8_t>(value);
}
inline void put_be24(std::uint8_t* to, std::uint32_t value) noexcept {
  to[0] = static_cast<std::uint8_t>(value >> 16);
  put_be16(to + 1, value);
}
inline void put_be32(std::uint8_t* to, std::uint32_t value) noexcept {
  put_be16(to, value >> 16);
  put_be16(to + 2, value);
}
inline void put_be64(std::uint8_t* to, std::uint64_t value) noexcept {
  put_be32(to, static_cast<std::uint32_t>(value >> 32));
  put_be32(to + 4, static_cast<std::uint32_t>(value));
}

/// Whether sequence number `a` comes before `b`, around the wrap (RFC 1982).
inline bool comes_before(std::uint32_t a, std::uint32_t b) noexcept {
  return a != b && b - a < 0x80000000U;
}

inline std::size_t padded(std::size_t length) noexcept {
  return (length + 3) & ~std::size_t{3};
}

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
