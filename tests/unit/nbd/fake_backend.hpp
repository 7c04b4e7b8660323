#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gateway/nbd/backend.hpp"
#include "gateway/nbd/connection.hpp"

namespace nbdgw::test {

struct FakeSegment : nbd::Segment {
  std::byte* memory = nullptr;
  std::array<iovec, 3> pieces{};  // the memory, cut unevenly
  bool done = false;
  bool in_use = false;
};

struct FakeRequest : nbd::Request {
  nbd::Segment* last = nullptr;  // of the list of segments
  std::uint32_t planned = 0;     // bytes of payload that have their segment
  std::uint32_t received = 0;    // bytes of payload that are there
  std::uint32_t waiting = 0;     // segments of a READ not yet done
  bool finished = false;
  bool in_use = false;
};

class FakeBackend;

struct FakeAttachment final : nbd::Attachment {
  FakeAttachment(FakeBackend& to, const nbd::Attaching& who);
  ~FakeAttachment() override;
  nbd::LossStanding standing() const noexcept override { return stands; }

  FakeBackend& backend;
  nbd::LossStanding stands;
  std::string token;
  bool again;
};

/// A disk in memory. Nothing completes by itself: the test says what, when and in which order. Pools are of fixed
/// size, so that a test may run out of room, and count allocations.
class FakeBackend final : public nbd::Backend {
 public:
  FakeBackend(std::uint64_t size, std::size_t segment_length, std::size_t requests = 300, std::size_t segments = 128);

  const nbd::ExportInfo& info() const noexcept override { return info_; }
  std::unique_ptr<nbd::Attachment> attach(const nbd::Attaching& who) override {
    return std::make_unique<FakeAttachment>(*this, who);
  }
  nbd::Request* admit(const nbd::RequestHeader& header, nbd::Connection& connection, nbd::Stake& stake,
                      proto::Micros now) override;
  bool others_wait(const nbd::Stake&) const noexcept override { return others; }
  proto::Micros patience(proto::Micros timeout, proto::Micros) const noexcept override { return timeout / hurry; }
  void closed_for_stalling(proto::Micros, proto::Micros) override { ++closed; }
  nbd::Segment* next_write_segment(nbd::Request& request) override;
  bool has_payload(const nbd::Request&) const noexcept override { return !payload_is_gone; }
  void copy_payload(const nbd::Request& request, std::vector<std::uint8_t>& to) const override;
  void segment_received(nbd::Request& request, nbd::Segment& segment, proto::Micros now) override;
  void start(nbd::Request& request, proto::Micros now) override;
  void release(nbd::Request& request, nbd::Segment& segment) override;
  void release(nbd::Request& request) override;
  void abandon(nbd::Request& request) override;

  /// Requests that can make progress, in the order in which they came.
  const std::vector<FakeRequest*>& running() const noexcept { return running_; }
  /// A request that is held, though it may not run yet.
  FakeRequest* any_in_use();
  /// READ: the `index`-th segment that is not done yet becomes so.
  void read_segment(FakeRequest& request, std::size_t index);
  /// Carries out what is left of the request, and finishes it.
  void complete(FakeRequest& request, proto::nbd::Error error = proto::nbd::Error::none, const char* text = nullptr);
  /// Everything that runs, in order.
  void complete_all();

  nbd::ExportInfo info_;
  std::unique_ptr<std::byte[]> disk;
  std::function<bool()> no_room = [] { return false; };    // asked before anything is given out
  proto::nbd::Error next_error = proto::nbd::Error::none;  // of complete_all()
  const char* next_text = nullptr;
  bool payload_is_gone = false;  // of a WRITE, with a part of it that is over
  bool others = false;           // as told to the connections: they wait
  int hurry = 1;                 // a stalled connection has the timeout divided by this
  int closed = 0;                // for stalling

  FakeAttachment* attached = nullptr;  // the last one that is there
  std::size_t requests_out = 0;
  std::size_t segments_out = 0;
  std::size_t abandoned = 0;
  std::size_t admitted = 0;
  proto::Micros last_arrival = 0;

 private:
  FakeSegment* take_segment(FakeRequest& request, std::uint32_t length);
  void give_back(FakeRequest& request);
  void stop_running(FakeRequest& request);

  std::size_t segment_length_;
  std::unique_ptr<std::byte[]> arena_;
  std::vector<FakeRequest> requests_;
  std::vector<FakeSegment> segments_;
  std::vector<FakeRequest*> running_;
};

}  // namespace nbdgw::test
