#pragma once

#include <cstddef>
#include <cstdint>

#include "gateway/nbd/backend.hpp"

namespace nbdgw::nbd {

/// The requests that a connection holds, from Backend::admit() to release() or abandon(): an intrusive list.
class InFlight {
 public:
  std::size_t size() const noexcept { return size_; }
  /// The newest; the others follow it.
  Request* first() const noexcept { return first_; }
  Request* oldest() const noexcept { return last_; }

  void add(Request& request) noexcept {
    request.marks = EngineMarks{};
    request.marks.next = first_;
    (first_ != nullptr ? first_->marks.previous : last_) = &request;
    first_ = &request;
    ++size_;
  }

  void remove(Request& request) noexcept {
    Request* const previous = request.marks.previous;
    Request* const next = request.marks.next;
    (previous != nullptr ? previous->marks.next : first_) = next;
    (next != nullptr ? next->marks.previous : last_) = previous;
    --size_;
  }

 private:
  Request* first_ = nullptr;
  Request* last_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace nbdgw::nbd
