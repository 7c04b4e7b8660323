#include <algorithm>
#include <vector>

#include "gateway/bridge/export.hpp"

/// Requests whose tasks the session holds, for want of a proof that the target does not run them any more, and those
/// that wait behind them in the fence. Nobody knows how long that takes, so after the hold timeout the clients are
/// answered.
namespace nbdgw::bridge {

using proto::nbd::Error;

namespace {

constexpr const char* kNoProof = "no path to the target, and no proof that it will not run the command any more";
constexpr const char* kBehind = "an earlier write there may still be run by the target, which cannot be asked";

/// Since when the session has held the request's tasks; kNotHeld: it holds none.
proto::Micros since_when_held(const IoRequest& request) noexcept {
  proto::Micros since = initiator::ScsiCommand::kNotHeld;
  for (const Segment* segment = request.first_segment; segment != nullptr; segment = segment->sibling) {
    if (segment->Task::state == Task::State::lent) since = std::min(since, segment->held_since);
  }
  return since;
}

}  // namespace

/// Answers those that have waited long enough, and notes when the next one will have.
void Export::look_at_stuck(proto::Micros now) {
  stuck_ = false;
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
    if (request.progress == IoRequest::State::free) return;
    const proto::Micros since = since_when_held(request);
    request.fence.set_stuck(since != initiator::ScsiCommand::kNotHeld);
    if (since == initiator::ScsiCommand::kNotHeld) return;
    stuck_ = true;
    if (!request.early && !request.abandoned) look(request, since);
  });
  if (!stuck_) return;
  fence_.for_each_behind_stuck([&](Fence::Entry& entry) {
    IoRequest& request = IoRequest::from(entry);
    if (request.progress == IoRequest::State::fenced) look(request, request.arrived_at);
  });
  for (IoRequest* const request : over) {
    // One that waited behind another of them may run by now.
    if (request->progress == IoRequest::State::running) {
      if (since_when_held(*request) != initiator::ScsiCommand::kNotHeld) answer_early(*request);
    } else if (request->progress == IoRequest::State::fenced) {
      fail(*request, Error::eio, kBehind);
      conclude(*request);
    }
  }
}

/// The client gets its error. The tasks that the session holds keep the request in the fence, and their memory, until
/// there is a proof; those that are not with the session are not sent any more.
void Export::answer_early(IoRequest& request) {
  fail(request, Error::eio, kNoProof);
  request.early = true;
  drop_unsent(request);
  conclude(request);
}

}  // namespace nbdgw::bridge
