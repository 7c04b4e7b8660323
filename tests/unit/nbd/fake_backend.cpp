#include "tests/unit/nbd/fake_backend.hpp"

#include <algorithm>
#include <cstring>

#include <doctest/doctest.h>

#include "proto/bytes/iovecs.hpp"

namespace nbdgw::test {

using proto::nbd::Command;
using proto::nbd::Error;

FakeAttachment::FakeAttachment(FakeBackend& to, const nbd::Attaching& who)
    : backend(to), stands(who.standing), token(who.token), again(who.again) {
  CHECK(backend.attached == nullptr);
  backend.attached = this;
}
FakeAttachment::~FakeAttachment() {
  CHECK(backend.requests_out == 0);  // all are released or abandoned before
  backend.attached = nullptr;
}

FakeBackend::FakeBackend(std::uint64_t size, std::size_t segment_length, std::size_t requests, std::size_t segments)
    : disk(std::make_unique_for_overwrite<std::byte[]>(size)),
      segment_length_(segment_length),
      arena_(std::make_unique_for_overwrite<std::byte[]>(segments * segment_length)),
      requests_(requests),
      segments_(segments) {
  std::memset(disk.get(), 0, size);
  info_.name = "vol0";
  info_.description = "a disk";
  info_.size = size;
  for (std::size_t i = 0; i < segments; ++i) segments_[i].memory = arena_.get() + i * segment_length;
  running_.reserve(requests);
}

FakeSegment* FakeBackend::take_segment(FakeRequest& request, std::uint32_t length) {
  const auto found = std::find_if(segments_.begin(), segments_.end(), [](const auto& s) { return !s.in_use; });
  if (found == segments_.end()) return nullptr;
  FakeSegment& segment = *found;
  segment.in_use = true;
  segment.done = false;
  segment.offset = request.header.offset + request.planned;
  segment.length = length;
  segment.next = nullptr;
  std::size_t pieces = 0, at = 0;
  for (const std::size_t end : {length / 3, length / 2, length}) {  // no empty ones: a real backend has none
    if (end > at) segment.pieces[pieces++] = iovec{segment.memory + at, end - at};
    at = end;
  }
  segment.payload = std::span(segment.pieces).first(pieces);
  (request.last != nullptr ? request.last->next : request.segments) = &segment;
  request.last = &segment;
  request.planned += length;
  ++segments_out;
  return &segment;
}

nbd::Request* FakeBackend::admit(const nbd::RequestHeader& header, nbd::Connection& connection, nbd::Stake&,
                                 proto::Micros) {
  REQUIRE(header.offset + header.length <= info_.size);
  if (header.command != Command::flush) REQUIRE(header.length > 0);
  if (no_room()) return nullptr;
  const auto found = std::find_if(requests_.begin(), requests_.end(), [](const auto& r) { return !r.in_use; });
  if (found == requests_.end()) return nullptr;
  FakeRequest& request = *found;
  request.in_use = true;
  request.header = header;
  request.connection = &connection;
  request.segments = request.last = nullptr;
  request.planned = request.received = request.waiting = 0;
  request.finished = false;
  ++requests_out;
  while (header.command == Command::read && request.planned < header.length) {
    const auto length = std::min<std::size_t>(segment_length_, header.length - request.planned);
    if (take_segment(request, static_cast<std::uint32_t>(length)) == nullptr) {
      give_back(request);
      return nullptr;
    }
    ++request.waiting;
  }
  ++admitted;
  return &request;
}

nbd::Segment* FakeBackend::next_write_segment(nbd::Request& base) {
  auto& request = static_cast<FakeRequest&>(base);
  REQUIRE(request.planned < request.header.length);
  REQUIRE(request.received == request.planned);
  if (no_room()) return nullptr;
  const auto length = std::min<std::size_t>(segment_length_, request.header.length - request.planned);
  return take_segment(request, static_cast<std::uint32_t>(length));
}

void FakeBackend::copy_payload(const nbd::Request& base, std::vector<std::uint8_t>& to) const {
  for (const nbd::Segment* segment = base.segments; segment != nullptr; segment = segment->next) {
    for (const iovec& piece : segment->payload) {
      const auto* const bytes = static_cast<const std::uint8_t*>(piece.iov_base);
      to.insert(to.end(), bytes, bytes + piece.iov_len);
    }
  }
}

void FakeBackend::segment_received(nbd::Request& base, nbd::Segment& segment, proto::Micros) {
  auto& request = static_cast<FakeRequest&>(base);
  REQUIRE(!request.finished);
  request.received += segment.length;
  if (request.received < request.header.length) return;
  last_arrival = request.arrived_at;
  running_.push_back(&request);
}

void FakeBackend::start(nbd::Request& base, proto::Micros) {
  auto& request = static_cast<FakeRequest&>(base);
  REQUIRE(request.header.command != Command::write);
  last_arrival = request.arrived_at;
  running_.push_back(&request);
}

void FakeBackend::release(nbd::Request& base, nbd::Segment& segment) {
  auto& request = static_cast<FakeRequest&>(base);
  auto& fake = static_cast<FakeSegment&>(segment);
  REQUIRE(request.in_use);
  REQUIRE(fake.in_use);
  REQUIRE(fake.done);
  nbd::Segment** link = &request.segments;
  while (*link != nullptr && *link != &segment) link = &(*link)->next;
  REQUIRE(*link == &segment);
  *link = segment.next;
  std::memset(fake.memory, 0xdd, segment_length_);
  fake.next = nullptr;
  fake.in_use = false;
  --segments_out;
}

void FakeBackend::release(nbd::Request& base) {
  auto& request = static_cast<FakeRequest&>(base);
  REQUIRE(request.finished);
  give_back(request);
}

void FakeBackend::abandon(nbd::Request& base) {
  auto& request = static_cast<FakeRequest&>(base);
  ++abandoned;
  base.connection = nullptr;
  stop_running(request);
  give_back(request);
}

void FakeBackend::give_back(FakeRequest& request) {
  REQUIRE(request.in_use);
  for (nbd::Segment* segment = request.segments; segment != nullptr; segment = segment->next) {
    static_cast<FakeSegment*>(segment)->in_use = false;
    --segments_out;
  }
  request.segments = nullptr;
  request.in_use = false;
  --requests_out;
}

void FakeBackend::stop_running(FakeRequest& request) {
  const auto found = std::find(running_.begin(), running_.end(), &request);
  if (found != running_.end()) running_.erase(found);
}

FakeRequest* FakeBackend::any_in_use() {
  const auto found = std::find_if(requests_.begin(), requests_.end(), [](const auto& r) { return r.in_use; });
  REQUIRE(found != requests_.end());
  return &*found;
}

void FakeBackend::read_segment(FakeRequest& request, std::size_t index) {
  for (nbd::Segment* segment = request.segments; segment != nullptr; segment = segment->next) {
    auto& fake = static_cast<FakeSegment&>(*segment);
    if (fake.done || index-- > 0) continue;
    proto::copy_in(fake.payload, 0, disk.get() + fake.offset, fake.length);
    fake.done = true;
    --request.waiting;
    return request.connection->segment_done(request, fake);
  }
  FAIL("no such segment");
}

void FakeBackend::complete(FakeRequest& request, Error error, const char* text) {
  const nbd::RequestHeader& header = request.header;
  if (error == Error::none && header.command == Command::read) {
    while (request.waiting > 0) read_segment(request, 0);
  } else if (error == Error::none && header.command == Command::write) {
    for (nbd::Segment* segment = request.segments; segment != nullptr; segment = segment->next)
      proto::copy_out(segment->payload, 0, disk.get() + segment->offset, segment->length);
  } else if (error == Error::none && header.command != Command::flush) {
    std::memset(disk.get() + header.offset, 0, header.length);
  }
  stop_running(request);
  request.finished = true;
  request.connection->finish(request, error, text);
}

void FakeBackend::complete_all() {
  while (!running_.empty()) complete(*running_.front(), next_error, next_text);
}

}  // namespace nbdgw::test
