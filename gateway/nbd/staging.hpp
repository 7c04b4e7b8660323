#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "proto/assert.hpp"

namespace nbdgw::nbd {

/// Where headers, options and small payloads of one connection are received: flat memory, filled at the end, taken
/// from the front. Only make_room() moves what is inside, so memory that a receive is under way into stays where it
/// is.
class Staging {
 public:
  explicit Staging(std::size_t capacity)
      : capacity_(capacity), memory_(std::make_unique_for_overwrite<std::uint8_t[]>(capacity)) {}

  std::span<const std::uint8_t> bytes() const noexcept { return {memory_.get() + begin_, end_ - begin_}; }
  std::size_t size() const noexcept { return end_ - begin_; }

  /// Up to `wanted` bytes of free room behind the bytes that are there; less only when the memory is that full.
  std::span<std::uint8_t> make_room(std::size_t wanted) noexcept {
    if (begin_ == end_) {
      begin_ = end_ = 0;
    } else if (capacity_ - end_ < wanted && begin_ > 0) {
      std::memmove(memory_.get(), memory_.get() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    return {memory_.get() + end_, capacity_ - end_ < wanted ? capacity_ - end_ : wanted};
  }

  /// `length` bytes were received into the room.
  void fill(std::size_t length) noexcept {
    NBDGW_ASSERT(length <= capacity_ - end_, "received no more than there was room for");
    end_ += length;
  }

  void drop(std::size_t length) noexcept {
    NBDGW_ASSERT(length <= end_ - begin_, "taken no more than there is");
    begin_ += length;
  }

  void clear() noexcept { begin_ = end_ = 0; }

 private:
  std::size_t capacity_;
  std::unique_ptr<std::uint8_t[]> memory_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace nbdgw::nbd
