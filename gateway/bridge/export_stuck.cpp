#include <algorithm>
#include <vector>

#include "gateway/bridge/export.hpp"
#include "proto/mutant.hpp"

/// Requests whose commands the session holds, for want of a proof that the target does not run them any more, and
/// those that wait behind them in the fence. Nobody knows how long that takes, so after the hold timeout the clients
/// are answered.
namespace nbdgw::bridge {

using proto::nbd::Error;

namespace {

constexpr const char* kNoProof = "no path to the target, and no proof that it will not run the command any more";
constexpr const char* kBehind = "an earlier write there may still be run by the target, which cannot be asked";

constexpr proto::Micros kNotHeld = initiator::ScsiCommand::kNotHeld;

proto::Micros since_when_held(const Segment& segment) noexcept {
  return segment.place == DiskCommand::Place::lent ? segment.held_since : kNotHeld;
}

/// Since when the session has held the request's commands; kNotHeld: it holds none.
proto::Micros since_when_held(const IoRequest& request) noexcept {
  proto::Micros since = kNotHeld;
  for (const Segment* segment = request.first_segment; segment != nullptr; segment = segment->sibling) {
    since = std::min(since, since_when_held(*segment));
  }
  return since;
}

/// Marks its places in the fence. True: that is news.
bool mark_stuck(IoRequest& request, bool held) noexcept {
  if (request.header.command != proto::nbd::Command::write) return request.fence.set_stuck(held);
  bool news = false;
  for (Segment* segment = request.first_segment; segment != nullptr; segment = segment->sibling) {
    if (segment->fence.set_stuck(since_when_held(*segment) != kNotHeld)) news = true;
  }
  return news;
}

bool waits_in_fence(const IoRequest& request) noexcept {
  return request.phase == IoRequest::Phase::fenced || request.fenced > 0;
}

}  // namespace

/// Answers those that have waited long enough, and notes when the next one will have.
void Export::look_at_stuck(proto::Micros now) {
  bool stuck = false;
  bool news = false;
  stuck_at_ = proto::kNever;
  std::vector<IoRequest*> over;
  const auto look = [&](IoRequest& request, proto::Micros since) {
    const bool ever = config_.hold_timeout != proto::kNever;
    if (fails_now() || (ever && since + config_.hold_timeout <= now)) {
      over.push_back(&request);
    } else if (ever) {
      stuck_at_ = std::min(stuck_at_, since + config_.hold_timeout);
    }
  };
  requests_.for_each([&](IoRequest& request) {
    if (request.phase == IoRequest::Phase::free) return;
    set_held_aside(request);
    const proto::Micros since = since_when_held(request);
    if (mark_stuck(request, since != kNotHeld)) news = true;
    if (since == kNotHeld) return;
    stuck = true;
    if (!request.early && !request.abandoned) look(request, since);
  });
  set_stuck(stuck, news);
  if (disk_->stuck_exports == 0) return;
  disk_->fence.for_each_behind_stuck([&](Fence::Entry& entry) {
    IoRequest& request = *FencedRange::from(entry).request;
    if (request.owner != this) return;  // it has its own patience, and looks itself
    if (request.error == Error::none) look(request, request.arrived_at);
  });
  for (IoRequest* const request : over) {
    if (request->error != Error::none) continue;  // several of its parts wait
    // One that waited behind another of them may run by now.
    if (since_when_held(*request) != kNotHeld) {
      answer_early(*request);
    } else if (waits_in_fence(*request)) {
      fail(*request, Error::eio, kBehind);
      drop_unsent(*request);
      conclude(*request);
    }
  }
}

/// Others go meanwhile: a target of which a controller is gone for good has others.
void Export::set_held_aside(const IoRequest& request) noexcept {
  for (Segment* segment = request.first_segment; segment != nullptr; segment = segment->sibling) {
    if (since_when_held(*segment) != kNotHeld) queue_.set_aside(*segment);
  }
}

/// Tells the other exports of the disk, of news only: they look then, and two that are both stuck would go on telling
/// each other.
void Export::set_stuck(bool stuck, bool news) noexcept {
  if (stuck != stuck_) {
    stuck_ = stuck;
    stuck ? ++disk_->stuck_exports : --disk_->stuck_exports;
  }
  if (news) {
    ++disk_->stuck_changes;
    for (const Export* other : disk_->exports) {
      if (other != this) other->bell_.ring();
    }
  }
  stuck_seen_ = disk_->stuck_changes;
}

/// The client gets its error. The commands that the session holds keep the request in the fence, and their memory,
/// until there is a proof; those that are not with the session are not sent any more.
void Export::answer_early(IoRequest& request) {
  fail(request, Error::eio, kNoProof);
  request.early = true;
  drop_unsent(request);
  if (NBDGW_MUTANT(early_answer_leaves_fence)) {
    for (Segment* segment = request.first_segment; segment != nullptr; segment = segment->sibling)
      leave_fence(segment->fence);
  }
  conclude(request);
}

}  // namespace nbdgw::bridge
