#include "gateway/nbd/reply_queue.hpp"

#include <algorithm>
#include <cstring>

#include "proto/assert.hpp"
#include "proto/bytes/endian.hpp"
#include "proto/bytes/iovecs.hpp"
#include "proto/mutant.hpp"
#include "proto/nbd/messages.hpp"

namespace nbdgw::nbd {
namespace {

using namespace proto::nbd;

/// Length of a text as it may go out: at most the protocol's longest string, not cut within a UTF-8 character.
std::uint16_t text_length(const char* text) noexcept {
  if (text == nullptr) return 0;
  std::size_t length = ::strnlen(text, kMaxString + 1);
  if (length > kMaxString) {
    length = kMaxString;
    while (length > 0 && (static_cast<std::uint8_t>(text[length]) & 0xc0) == 0x80) --length;
  }
  return static_cast<std::uint16_t>(length);
}

}  // namespace

void ReplyQueue::open(bool structured) {
  structured_ = structured;
  slots_ = std::make_unique_for_overwrite<WireSlot[]>(kWireSlots);
}

void ReplyQueue::clear() noexcept {
  ready_first_ = ready_last_ = nullptr;
  head_ = tail_ = 0;
  head_sent_ = segment_sent_ = 0;
}

// ---- the ready list
// -------------------------------------------------------------------------------------------------

void ReplyQueue::drop(Backend& backend, InFlight& in_flight) {
  const auto give_back = [&](nbd::Request& request) {
    in_flight.remove(request);
    backend.release(request);
  };
  for (; head_ != tail_; ++head_) {
    const WireSlot& wire = slot(head_);
    if (wire.last && wire.request != nullptr) give_back(*wire.request);
  }
  head_sent_ = segment_sent_ = 0;
  while (ready_first_ != nullptr) {
    nbd::Request& request = *ready_first_;
    unqueue_first();
    request.marks.done_first = request.marks.done_last = nullptr;
    if (request.marks.finished) give_back(request);
  }
}

void ReplyQueue::queue(nbd::Request& request) noexcept {
  if (request.marks.queued) return;
  request.marks.queued = true;
  request.marks.next_ready = nullptr;
  (ready_last_ != nullptr ? ready_last_->marks.next_ready : ready_first_) = &request;
  ready_last_ = &request;
}

void ReplyQueue::unqueue_first() noexcept {
  EngineMarks& marks = ready_first_->marks;
  marks.queued = false;
  ready_first_ = marks.next_ready;
  if (ready_first_ == nullptr) ready_last_ = nullptr;
}

bool ReplyQueue::segment_done(nbd::Request& request, Segment& segment) {
  EngineMarks& marks = request.marks;
  marks.done_bytes += segment.length;
  if (!structured_ || (request.header.flags & kCmdFlagDf) != 0) return false;  // one piece, once all is there
  segment.next_done = nullptr;
  (marks.done_last != nullptr ? marks.done_last->next_done : marks.done_first) = &segment;
  marks.done_last = &segment;
  queue(request);
  return true;
}

void ReplyQueue::finish(nbd::Request& request) {
  queue(request);
}

// ---- the wire slots
// -------------------------------------------------------------------------------------------------

ReplyQueue::WireSlot& ReplyQueue::new_slot(nbd::Request* request, bool last) noexcept {
  WireSlot& wire = slot(tail_++);
  wire.header_length = 0;
  wire.text_length = 0;
  wire.text = nullptr;
  wire.request = request;
  wire.segment = nullptr;
  wire.all_segments = false;
  wire.last = last;
  return wire;
}

void ReplyQueue::push(const ImmediateReply& reply, Counters& counters) {
  NBDGW_ASSERT(!full(), "the caller has looked for a free slot");
  encode_result(new_slot(nullptr, true), reply, counters);
}

/// A reply without data: an error, or the success of anything but a READ with something to send.
void ReplyQueue::encode_result(WireSlot& wire, const ImmediateReply& reply, Counters& counters) noexcept {
  const std::span header(wire.header);
  ++counters.replies[Counters::index_of(reply.error)];
  if (!structured_ || (reply.error == Error::none && reply.command != Command::read)) {
    SimpleReply{.error = reply.error, .cookie = reply.cookie}.encode(header.first<kSimpleReplyLength>());
    wire.header_length = kSimpleReplyLength;
    return;
  }
  ChunkHeader chunk{.flags = kReplyFlagDone, .type = Chunk::none, .cookie = reply.cookie};
  wire.header_length = kChunkHeaderLength;
  if (reply.error != Error::none) {
    wire.text = reply.text;
    wire.text_length = text_length(reply.text);
    chunk.type = Chunk::error;
    chunk.length = static_cast<std::uint32_t>(kChunkErrorLength + wire.text_length);
    ChunkError{.error = reply.error, .text_length = static_cast<std::uint16_t>(wire.text_length)}.encode(
        header.subspan<kChunkHeaderLength, kChunkErrorLength>());
    wire.header_length += kChunkErrorLength;
  }
  chunk.encode(header.first<kChunkHeaderLength>());
}

/// A READ of which nothing has gone out yet, all of it, as one reply or chunk.
void ReplyQueue::encode_whole_read(nbd::Request& request) noexcept {
  WireSlot& wire = new_slot(&request, true);
  wire.segment = request.segments;
  wire.all_segments = true;
  if (structured_) return encode_data_header(wire, request.header.offset, request.header.length);
  SimpleReply{.cookie = request.header.cookie}.encode(std::span(wire.header).first<kSimpleReplyLength>());
  wire.header_length = kSimpleReplyLength;
}

void ReplyQueue::encode_segment(nbd::Request& request, Segment& segment, bool last) noexcept {
  WireSlot& wire = new_slot(&request, last);
  wire.segment = &segment;
  encode_data_header(wire, segment.offset, segment.length);
}

void ReplyQueue::encode_data_header(WireSlot& wire, std::uint64_t offset, std::uint32_t length) noexcept {
  const std::span header(wire.header);
  ChunkHeader{.flags = wire.last ? kReplyFlagDone : std::uint16_t{0},
              .type = Chunk::offset_data,
              .cookie = wire.request->header.cookie,
              .length = static_cast<std::uint32_t>(kChunkOffsetLength + length)}
      .encode(header.first<kChunkHeaderLength>());
  proto::store_be64(&header[kChunkHeaderLength], offset);
  wire.header_length = kChunkHeaderLength + kChunkOffsetLength;
}

/// Turns the next thing that the first ready request has to say into a wire slot.
void ReplyQueue::encode_first_ready(Counters& counters) {
  nbd::Request& request = *ready_first_;
  EngineMarks& marks = request.marks;
  const bool data = request.header.command == Command::read && marks.error == Error::none;
  if (marks.finished && data && !marks.answering) {
    ++counters.replies[Counters::index_of(Error::none)];
    encode_whole_read(request);
    return unqueue_first();
  }
  if (marks.done_first != nullptr && (!marks.finished || data)) {
    Segment& segment = *marks.done_first;
    marks.done_first = segment.next_done;
    if (marks.done_first == nullptr) marks.done_last = nullptr;
    marks.answering = true;
    // The last chunk says so only if nothing can go wrong any more.
    const bool last = (marks.finished || NBDGW_MUTANT(done_flag_before_the_end)) && marks.done_first == nullptr;
    if (last) ++counters.replies[Counters::index_of(Error::none)];
    encode_segment(request, segment, last);
    if (marks.done_first == nullptr) unqueue_first();
    return;
  }
  NBDGW_ASSERT(marks.finished, "a ready request has something to say");
  encode_result(new_slot(&request, true), {request.header.cookie, request.header.command, marks.error, marks.text},
                counters);
  unqueue_first();
}

// ---- sending
// --------------------------------------------------------------------------------------------------------

std::size_t ReplyQueue::gather(std::span<iovec> out, Counters& counters) {
  std::size_t filled = 0;
  for (std::size_t position = head_; filled < out.size(); ++position) {
    if (position == tail_) {
      if (ready_first_ == nullptr || full()) break;
      encode_first_ready(counters);
    }
    const bool oldest = position == head_;
    filled += gather_slot(slot(position), oldest ? head_sent_ : 0, oldest ? segment_sent_ : 0, out.subspan(filled));
  }
  return filled;
}

std::uint64_t ReplyQueue::unsent_bytes() const noexcept {
  std::uint64_t bytes = 0;
  for (std::size_t position = head_; position != tail_; ++position) {
    const WireSlot& wire = slots_[position & (kWireSlots - 1)];
    bytes += wire.header_length + wire.text_length;
    for (const Segment* segment = wire.segment; segment != nullptr;
         segment = wire.all_segments ? segment->next : nullptr)
      bytes += segment->length;
  }
  for (const Request* request = ready_first_; request != nullptr; request = request->marks.next_ready) {
    const EngineMarks& marks = request->marks;
    if (marks.error != Error::none || request->header.command != Command::read) continue;
    if (marks.finished && !marks.answering) {  // goes out whole
      bytes += request->header.length;
      continue;
    }
    for (const Segment* segment = marks.done_first; segment != nullptr; segment = segment->next_done)
      bytes += segment->length;
  }
  return bytes - head_sent_ - segment_sent_;
}

std::size_t ReplyQueue::gather_slot(WireSlot& wire, std::size_t head_sent, std::size_t segment_sent,
                                    std::span<iovec> out) noexcept {
  std::size_t filled = 0;
  if (head_sent < wire.header_length)
    out[filled++] = {wire.header.data() + head_sent, wire.header_length - head_sent};
  const std::size_t text_sent = head_sent > wire.header_length ? head_sent - wire.header_length : 0;
  if (text_sent < wire.text_length && filled < out.size())
    out[filled++] = {const_cast<char*>(wire.text) + text_sent, wire.text_length - text_sent};

  Segment* segment = wire.segment;
  while (segment != nullptr && filled < out.size()) {
    filled += proto::slice(segment->payload, segment_sent, segment->length - segment_sent, out.subspan(filled));
    segment = wire.all_segments ? segment->next : nullptr;
    segment_sent = 0;
  }
  return filled;
}

void ReplyQueue::on_sent(std::size_t length, Backend& backend, InFlight& in_flight, Counters& counters) {
  while (length > 0) {
    NBDGW_ASSERT(head_ != tail_, "no more was sent than there is");
    WireSlot& wire = slot(head_);
    const std::size_t head_length = wire.header_length + wire.text_length;
    const std::size_t of_head = std::min(length, head_length - head_sent_);
    head_sent_ += of_head;
    length -= of_head;
    while (wire.segment != nullptr && length > 0) {
      Segment& segment = *wire.segment;
      const std::size_t of_segment = std::min(length, segment.length - segment_sent_);
      segment_sent_ += of_segment;
      length -= of_segment;
      counters.bytes_read += of_segment;
      if (segment_sent_ < segment.length) break;
      segment_sent_ = 0;
      wire.segment = wire.all_segments ? segment.next : nullptr;
      backend.release(*wire.request, segment);
    }
    if (head_sent_ < head_length || wire.segment != nullptr) return;
    if (wire.last && wire.request != nullptr) {
      in_flight.remove(*wire.request);
      backend.release(*wire.request);
    }
    ++head_;
    head_sent_ = 0;
  }
}

}  // namespace nbdgw::nbd
