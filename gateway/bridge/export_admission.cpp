#include <algorithm>
#include <array>

#include "gateway/bridge/command_builder.hpp"
#include "gateway/bridge/export.hpp"
#include "proto/assert.hpp"
#include "proto/mutant.hpp"

/// What a request needs, taken before it or a part of it begins, and given back at its end. In the way of every
/// request, so what is used here alone is inline.
namespace nbdgw::bridge {

using proto::BufferPool;
using proto::nbd::Command;
using proto::nbd::Error;

namespace {

std::uint64_t end_of(const IoRequest& request) noexcept {
  return request.header.offset + request.header.length;
}

}  // namespace

nbd::Request* Export::admit(const nbd::RequestHeader& header, nbd::Connection& connection, nbd::Stake& stake,
                            proto::Micros now) {
  NBDGW_ASSERT(known_, "no request before the export was online");
  const Plan plan = plan_of(header, stake);
  const Source source = share_.may_take(stake, plan.need, state_ != ExportState::online);
  if (source == Source::nowhere) {
    ++counters_.no_room;
    return nullptr;
  }
  IoRequest& request = *requests_.take();
  begin(request, header, now);
  request.connection = &connection;
  request.stake = &stake;
  request.source = source;
  share_.take(stake, source, plan.need);
  if (!reserve(request, plan)) {
    ++counters_.no_room;
    take_apart(request);
    requests_.give_back(request);
    share_.give_back(&stake, source, plan.need);
    share_.wait(stake);
    return nullptr;
  }
  if (stake.waits()) stake.leave();
  if (!count(header.command)) fail(request, Error::einval, "command not supported");
  if (draining_) {
    fail(request, Error::eshutdown, "the gateway is shutting down");
    // No payload is waited for: what comes of it is dropped.
    if (header.command == Command::write) finish(request);
  }
  return &request;
}

inline void Export::begin(IoRequest& request, const nbd::RequestHeader& header, proto::Micros now) noexcept {
  request.owner = this;
  request.header = header;
  request.segments = nullptr;
  request.arrived_at = now;
  request.phase = IoRequest::Phase::admitted;
  request.abandoned = false;
  request.early = false;
  request.fua = (header.flags & proto::nbd::kCmdFlagFua) != 0;
  request.fua_bit = request.fua && can_.cache && can_.fua_bit && header.command == Command::write;
  request.text = nullptr;
  request.error = Error::none;
  request.cached_at = CacheLedger::kNothingCached;
  request.first_segment = request.last_segment = nullptr;
  request.filling = false;
  request.active = request.fenced = 0;
  request.cursor = request.range_end = 0;
  if (header.command == Command::flush) return;
  request.cursor = header.offset;
  request.range_end = end_of(request);
}

/// False: no command of ours.
inline bool Export::count(Command command) noexcept {
  switch (command) {
    case Command::read:
      ++counters_.reads;
      return true;
    case Command::write:
      ++counters_.writes;
      return true;
    case Command::trim:
      ++counters_.trims;
      return true;
    case Command::write_zeroes:
      ++counters_.write_zeroes;
      return true;
    case Command::flush:
      ++counters_.flushes;
      return true;
    default:
      return false;
  }
}

/// What a request takes at its beginning.
inline Export::Plan Export::plan_of(const nbd::RequestHeader& header, const nbd::Stake& stake) const noexcept {
  switch (header.command) {
    case Command::read:
      return plan_of_read(header, stake);
    case Command::trim:
      return {.need = {.requests = 1, .segments = 1}};
    case Command::write_zeroes: {
      const bool edges = header.offset % can_.block != 0 || header.length % can_.block != 0;
      return {.need = {.memory = edges ? BufferPool::cost(can_.block) : 0, .requests = 1, .segments = 1}};
    }
    default:  // the parts of a WRITE are made as their payload comes
      return {.need = {.requests = 1}};
  }
}

/// All of it, or in pieces what its share allows.
inline Export::Plan Export::plan_of_read(const nbd::RequestHeader& header, const nbd::Stake& stake) const noexcept {
  const std::uint64_t end = header.offset + header.length;
  const Part first = part_at(header.offset, end);
  Plan plan{.need = {.memory = first.cost, .requests = 1, .segments = 1}, .first = first, .end = first.end};
  if (first.end == end) return plan;
  const bool in_pieces = stake.in_pieces && (header.flags & proto::nbd::kCmdFlagDf) == 0;
  const std::uint64_t most = in_pieces ? share_.in_pieces(~std::uint64_t{0}, first.cost) : ~std::uint64_t{0};
  while (plan.end < end) {
    const Part part = part_at(plan.end, end);
    if (plan.need.memory + part.cost > most) break;
    plan.need.memory += part.cost;
    ++plan.need.segments;
    plan.end = part.end;
  }
  return plan;
}

/// The part of a READ or WRITE that begins there.
inline Export::Part Export::part_at(std::uint64_t at, std::uint64_t end) const noexcept {
  const std::uint64_t next = part_end(at, end, can_.block, can_.part);
  const BlockRange blocks = widen(at, next - at, can_.block);
  const std::uint64_t bytes = blocks.count() * can_.block;
  return {.end = next,
          .blocks = blocks,
          .bytes = static_cast<std::uint32_t>(bytes),
          .cost = static_cast<std::uint32_t>(BufferPool::cost(bytes))};
}

/// What the plan says. False: the pool has not the blocks for it.
inline bool Export::reserve(IoRequest& request, const Plan& plan) {
  switch (request.header.command) {
    case Command::read:
      if (add_part(request, plan.first) == nullptr) return false;
      request.first_segment->source = request.source;
      request.segments = request.first_segment;
      while (request.cursor < plan.end) {
        if (add_part(request, part_at(request.cursor, request.range_end)) == nullptr) return false;
      }
      return true;
    case Command::trim:
    case Command::write_zeroes:
      return reserve_slots(request, plan.need.memory > 0 ? can_.block : 0);
    default:
      return true;
  }
}

nbd::Segment* Export::next_write_segment(nbd::Request& nbd_request) {
  IoRequest& request = static_cast<IoRequest&>(nbd_request);
  NBDGW_ASSERT(request.cursor < request.range_end && !request.filling, "one segment after the other is filled");
  if (request.error != Error::none) return nullptr;  // its outcome is about to be told
  const Part part = part_at(request.cursor, request.range_end);
  const bool edges = part.bytes != part.end - request.cursor;
  const Need need{.memory = part.cost + (edges ? BufferPool::cost(can_.block) : 0), .segments = 1};
  const Source source = share_.may_take(*request.stake, need, state_ != ExportState::online);
  Segment* const segment = source == Source::nowhere ? nullptr : add_write_part(request, part, edges);
  if (segment == nullptr) {
    if (source != Source::nowhere) share_.wait(*request.stake);
    ++counters_.no_room;
    return nullptr;
  }
  segment->source = source;
  share_.take(*request.stake, source, need);
  if (request.stake->waits()) request.stake->leave();
  request.filling = true;
  segment->phase = Segment::Phase::filling;
  return segment;
}

/// The next part of a READ or WRITE, with its memory. nullptr: the pool has not the blocks for it.
inline Segment* Export::add_part(IoRequest& request, const Part& part) {
  Segment* const segment = add_segment(request, part.bytes);
  if (segment != nullptr) place_part(request, *segment, part);
  return segment;
}

/// With memory for what has to be read at its ends and is not needed.
inline Segment* Export::add_write_part(IoRequest& request, const Part& part, bool edges) {
  const std::uint64_t at = request.cursor;
  Segment* const segment = add_part(request, part);
  if (segment == nullptr || !edges) return segment;
  segment->discard_count = static_cast<std::uint8_t>(pool_.allocate(can_.block, segment->discard));
  if (segment->discard_count > 0) {
    segment->cost += static_cast<std::uint32_t>(BufferPool::cost(can_.block));
    return segment;
  }
  request.cursor = at;
  unlink_segment(request, *segment);
  release_memory(*segment);
  segments_.give_back(*segment);
  return nullptr;
}

/// The segment carries this part of the request.
inline void Export::place_part(IoRequest& request, Segment& segment, const Part& part) noexcept {
  segment.offset = request.cursor;
  segment.length = static_cast<std::uint32_t>(part.end - request.cursor);
  segment.lba = part.blocks.first;
  segment.blocks = part.blocks.count();
  segment.blocks_done = segment.command_blocks = 0;
  place_payload(segment, segment.offset - segment.lba * can_.block, segment.length);
  request.cursor = part.end;
}

/// A part of a READ in pieces has been sent: its memory takes the next one, which it is large enough for.
void Export::read_on(IoRequest& request, Segment& segment) {
  const std::uint32_t room = std::min(can_.part, segment.memory_bytes / can_.block * can_.block);
  const std::uint64_t end = part_end(request.cursor, request.range_end, can_.block, room);
  place_part(request, segment, {.end = end, .blocks = widen(request.cursor, end - request.cursor, can_.block)});
  launch(segment, Operation::read);
}

bool Export::reserve_slots(IoRequest& request, std::uint32_t bytes_of_memory) {
  const bool zeroes = request.header.command == Command::write_zeroes;
  // The first slot has the memory of one block, for a block that is zeroed in part. It alone must be had.
  if (add_segment(request, bytes_of_memory) == nullptr) return false;
  request.first_segment->source = request.source;
  // More only as far as there are slices for them. WRITE SAME may turn into zero writes, with smaller slices.
  const std::uint64_t limit = (zeroes ? can_.write_same : can_.unmap) * can_.block;
  const std::uint64_t slice = limit == 0 ? kMaxPart : zeroes ? std::min<std::uint64_t>(limit, kMaxPart) : limit;
  std::uint64_t useful = std::min<std::uint64_t>(kRangeCommands, request.header.length / slice + 1);
  if (request.source == Source::reserved) useful = 1;
  for (std::uint64_t slots = 1; slots < useful && share_.spare_segments() > 0; ++slots) {
    add_segment(request, 0);
    share_.take(*request.stake, Source::shared, {.segments = 1});
  }
  return true;
}

/// Takes a segment, with memory if asked for, and adds it to the request. nullptr: the pool has not the blocks. The
/// caller has seen to it that it may be taken.
inline Segment* Export::add_segment(IoRequest& request, std::uint32_t bytes_of_memory) {
  Segment* const segment = segments_.take();
  NBDGW_ASSERT(segment != nullptr, "who may take a segment finds one");
  segment->memory_count = segment->discard_count = 0;
  segment->memory_bytes = bytes_of_memory;
  segment->cost = 0;
  if (bytes_of_memory > 0) {
    segment->memory_count = static_cast<std::uint8_t>(pool_.allocate(bytes_of_memory, segment->memory));
    if (segment->memory_count == 0) {
      segments_.give_back(*segment);
      return nullptr;
    }
    segment->cost = static_cast<std::uint32_t>(BufferPool::cost(bytes_of_memory));
  }
  segment->source = Source::shared;
  segment->request = &request;
  segment->sibling = nullptr;
  segment->nbd::Segment::next = nullptr;
  segment->payload = {};
  segment->phase = Segment::Phase::spare;
  segment->operation = Operation::none;
  segment->blocks = segment->blocks_done = segment->command_blocks = 0;
  segment->sink = this;
  if (request.last_segment == nullptr) {
    request.first_segment = segment;
  } else {
    request.last_segment->sibling = segment;
    request.last_segment->nbd::Segment::next = segment;
  }
  request.last_segment = segment;
  return segment;
}

inline void Export::release_memory(Segment& segment) noexcept {
  if (segment.memory_count > 0) pool_.release(segment.memory_list());
  if (segment.discard_count > 0) pool_.release(segment.discard_list());
  segment.memory_count = segment.discard_count = 0;
  segment.cost = 0;
  ++room_;
}

/// Of a part of a READ, which is sent or will never be.
void Export::free_memory(Segment& segment) noexcept {
  if (segment.source == Source::shared) share_.give_back(nullptr, Source::shared, {.memory = segment.cost});
  release_memory(segment);
}

void Export::unlink_segment(IoRequest& request, Segment& segment) noexcept {
  Segment* previous = nullptr;
  for (Segment* other = request.first_segment; other != &segment; other = other->sibling) previous = other;
  (previous != nullptr ? previous->sibling : request.first_segment) = segment.sibling;
  if (request.last_segment == &segment) request.last_segment = previous;
}

/// A part of a WRITE is over: it goes before its request does, so that a long one holds only what it needs.
void Export::drop_segment(IoRequest& request, Segment& segment) noexcept {
  unlink_segment(request, segment);
  share_.give_back(request.stake, segment.source, {.memory = segment.cost, .segments = 1});
  release_memory(segment);
  segments_.give_back(segment);
}

bool Export::has_payload(const nbd::Request& nbd_request) const noexcept {
  const auto& request = static_cast<const IoRequest&>(nbd_request);
  std::uint64_t at = request.header.offset;
  for (const Segment* segment = request.first_segment; segment != nullptr; segment = segment->sibling) {
    if (segment->offset != at) return false;
    at += segment->length;
  }
  return at == request.cursor;
}

void Export::copy_payload(const nbd::Request& nbd_request, std::vector<std::uint8_t>& to) const {
  const auto& request = static_cast<const IoRequest&>(nbd_request);
  for (const Segment* segment = request.first_segment; segment != nullptr; segment = segment->sibling) {
    // Not by segment->payload, whose list a command of the segment may have taken for its own.
    const std::size_t begin = to.size();
    to.resize(begin + segment->length);
    std::array<iovec, kPartBlocks> list;
    const std::size_t skew = segment->offset - segment->lba * can_.block;
    const std::size_t n = proto::slice(segment->memory_list(), skew, segment->length, list);
    proto::copy_out(std::span<const iovec>(list).first(n), 0, &to[begin], segment->length);
  }
}

/// Its connection needs it no more: what is left of it runs to its end, at the cost of nobody's reserve.
void Export::leave_stake(IoRequest& request) noexcept {
  nbd::Stake& stake = *request.stake;
  if (request.source == Source::reserved) stake.reserved_request = false;
  for (const Segment* segment = request.first_segment; segment != nullptr; segment = segment->sibling) {
    if (segment->source == Source::reserved) stake.reserved_memory = false;
  }
  request.stake = nullptr;
  request.connection = nullptr;
  request.abandoned = true;
}

/// Frees its segments. Returns what of them is to be given back as shared.
inline Need Export::take_apart(IoRequest& request) noexcept {
  Need shared;
  for (Segment* segment = request.first_segment; segment != nullptr;) {
    Segment* const next = segment->sibling;
    NBDGW_ASSERT(segment->place == DiskCommand::Place::none, "a segment whose command runs is not freed");
    if (segment->source == Source::shared) {
      if (!request.abandoned || !NBDGW_MUTANT(abandoned_memory_leaks)) shared.memory += segment->cost;
      ++shared.segments;
    } else {
      share_.give_back(request.stake, Source::reserved, {.segments = 1});
    }
    if (segment->cost > 0) release_memory(*segment);
    segments_.give_back(*segment);
    segment = next;
  }
  request.first_segment = nullptr;
  return shared;
}

void Export::free_request(IoRequest& request) noexcept {
  request.hook.unlink();
  Need shared = take_apart(request);
  request.phase = IoRequest::Phase::free;
  if (request.source == Source::shared) {
    shared.requests = 1;
  } else {
    share_.give_back(request.stake, Source::reserved, {.requests = 1});
  }
  share_.give_back(nullptr, Source::shared, shared);
  requests_.give_back(request);
  ++room_;
}

}  // namespace nbdgw::bridge
