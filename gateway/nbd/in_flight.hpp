#pragma once

#include <cstddef>
#include <cstdint>

#include "gateway/nbd/backend.hpp"

namespace nbdgw::nbd {

/// Commands whose bytes go through our memory.
constexpr bool carries_payload(proto::nbd::Command command) noexcept {
  return command == proto::nbd::Command::read || command == proto::nbd::Command::write;
}

/// The requests that a connection holds, from Backend::admit() to release() or abandon(): an intrusive list.
class InFlight {
 public:
  std::size_t size() const noexcept { return size_; }
  /// The newest; the others follow it.
  Request* first() const noexcept { return first_; }
  Request* oldest() const noexcept { return last_; }
  /// Payload memory that these requests hold at most, bytes.
  std::uint64_t payload_bytes() const noexcept { return payload_bytes_; }

  void add(Request& request) noexcept {
    request.marks = EngineMarks{};
    request.marks.next = first_;
    (first_ != nullptr ? first_->marks.previous : last_) = &request;
    first_ = &request;
    ++size_;
    payload_bytes_ += payload_of(request);
  }

  void remove(Request& request) noexcept {
    Request* const previous = request.marks.previous;
    Request* const next = request.marks.next;
    (previous != nullptr ? previous->marks.next : first_) = next;
    (next != nullptr ? next->marks.previous : last_) = previous;
    --size_;
    payload_bytes_ -= payload_of(request);
  }

 private:
  static std::uint64_t payload_of(const Request& request) noexcept {
    return carries_payload(request.header.command) ? request.header.length : 0;
  }

  Request* first_ = nullptr;
  Request* last_ = nullptr;
  std::size_t size_ = 0;
  std::uint64_t payload_bytes_ = 0;
};

}  // namespace nbdgw::nbd
