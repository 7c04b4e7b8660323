#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "gateway/nbd/backend.hpp"
#include "gateway/nbd/counters.hpp"
#include "gateway/nbd/in_flight.hpp"

namespace nbdgw::nbd {

/// An answer that needs no request: to what was refused, or was nothing to do.
struct ImmediateReply {
  std::uint64_t cookie = 0;
  proto::nbd::Command command{};
  proto::nbd::Error error = proto::nbd::Error::none;
  const char* text = nullptr;  // static storage
};

/// The replies of one connection, in two stages, neither of which allocates:
/// 1. the ready list: requests that are finished, or (structured READ) have segments whose data may go; intrusive, so
///    that it is bounded by the requests in flight;
/// 2. the ring of wire slots: encoded headers, with what they point to, in the order in which they are sent. A slot
/// is
///    filled only when the shell asks for output, so a READ whose last segments came in meanwhile goes out as one
///    chunk.
class ReplyQueue {
 public:
  /// Replies and chunks that can be on their way to the socket at a time (a power of two).
  static constexpr std::size_t kWireSlots = 256;

  /// Once, at the begin of the transmission phase.
  void open(bool structured);

  bool empty() const noexcept { return ready_first_ == nullptr && head_ == tail_; }
  /// No wire slot is free: push() must not be called before on_sent().
  bool full() const noexcept { return tail_ - head_ == kWireSlots; }

  void push(const ImmediateReply& reply, Counters& counters);

  /// READ: this segment's data may be sent. Returns whether there is something new to send now.
  bool segment_done(Request& request, Segment& segment);
  /// The outcome is in request.marks: the reply may be sent.
  void finish(Request& request);

  /// What is ready and not sent, bytes; of what is in no wire slot yet the payload only. Looks at all of it.
  std::uint64_t unsent_bytes() const noexcept;

  /// Fills `out` from the oldest unsent byte on; returns the number of entries.
  std::size_t gather(std::span<iovec> out, Counters& counters);
  /// The first `length` gathered bytes are sent: gives segments and requests back to the backend.
  void on_sent(std::size_t length, Backend& backend, InFlight& in_flight, Counters& counters);

  /// Nobody takes them any more: what is finished goes back to the backend; of a READ that is not, the data that
  /// could have gone is forgotten.
  void drop(Backend& backend, InFlight& in_flight);
  /// Forgets everything that is queued. The requests themselves are the caller's business.
  void clear() noexcept;

 private:
  /// One reply or chunk: a header, then a text or payload.
  struct WireSlot {
    std::array<std::uint8_t, 32> header;
    std::uint32_t header_length;
    std::uint32_t text_length;
    const char* text;
    Request* request;   // null: an immediate reply
    Segment* segment;   // the first one not wholly sent; null: no payload (left)
    bool all_segments;  // the payload goes on with segment->next
    bool last;          // the request ends with this slot
  };

  WireSlot& slot(std::size_t position) noexcept { return slots_[position & (kWireSlots - 1)]; }
  WireSlot& new_slot(Request* request, bool last) noexcept;
  void queue(Request& request) noexcept;
  void unqueue_first() noexcept;
  void encode_first_ready(Counters& counters);
  void encode_result(WireSlot& wire, const ImmediateReply& reply, Counters& counters) noexcept;
  void encode_whole_read(Request& request) noexcept;
  void encode_segment(Request& request, Segment& segment, bool last) noexcept;
  static void encode_data_header(WireSlot& wire, std::uint64_t offset, std::uint32_t length) noexcept;
  static std::size_t gather_slot(WireSlot& wire, std::size_t head_sent, std::size_t segment_sent,
                                 std::span<iovec> out) noexcept;

  bool structured_ = false;
  Request* ready_first_ = nullptr;
  Request* ready_last_ = nullptr;
  std::unique_ptr<WireSlot[]> slots_;
  std::size_t head_ = 0;  // oldest slot not wholly sent; counts up, the ring index is the lower bits
  std::size_t tail_ = 0;
  std::size_t head_sent_ = 0;     // of the oldest slot: bytes of header and text sent
  std::size_t segment_sent_ = 0;  // of the oldest slot: bytes of slot.segment sent
};

}  // namespace nbdgw::nbd
