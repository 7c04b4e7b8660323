#include "tests/unit/initiator/jobs.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>

#include "proto/bytes/endian.hpp"
#include "tests/unit/allocations.hpp"

namespace nbdgw::test {

using initiator::Direction;
using initiator::Outcome;

namespace {

std::uint64_t pattern_word(std::uint64_t number, std::uint64_t index) {
  const std::uint64_t mixed = (index + 1) * 0x9e3779b97f4a7c15ULL + number * 0xc2b2ae3d27d4eb4fULL;
  return (mixed ^ (mixed >> 29)) * 0xbf58476d1ce4e5b9ULL;
}

}  // namespace

/// Word by word: it is done for each command of tests that send millions.
void fill_pattern(std::uint64_t number, std::size_t offset, std::span<std::uint8_t> out) {
  std::uint8_t* to = out.data();
  std::uint8_t* const end = to + out.size();
  while (to != end) {
    const std::uint64_t word = pattern_word(number, offset / 8);
    const std::size_t skipped = offset % 8;
    const std::size_t n = std::min<std::size_t>(static_cast<std::size_t>(end - to), 8 - skipped);
    if (n == 8) {  // nearly always, and then it is no call
      std::memcpy(to, &word, 8);
    } else {
      std::memcpy(to, reinterpret_cast<const std::uint8_t*>(&word) + skipped, n);
    }
    to += n;
    offset += n;
  }
}

Bytes pattern_bytes(std::uint64_t number, std::size_t length) {
  Bytes bytes(length);
  fill_pattern(number, 0, bytes);
  return bytes;
}

Bytes Job::bytes() const {
  Bytes all;
  for (const iovec& entry : list) {
    const auto* base = static_cast<const std::uint8_t*>(entry.iov_base);
    all.insert(all.end(), base, base + entry.iov_len);
  }
  return all;
}

void Jobs::give_memory(Job& job, std::size_t pieces) {
  job.memory.clear();
  job.list.clear();
  std::size_t left = job.data_length;
  std::size_t offset = 0;
  for (std::size_t i = 0; i < pieces && left > 0; ++i) {
    // Uneven pieces, the last takes the rest.
    const std::size_t n = i + 1 == pieces ? left : std::min(left, job.data_length / pieces + i % 3);
    if (n == 0) continue;
    job.memory.push_back(std::make_unique_for_overwrite<std::uint8_t[]>(n));
    std::uint8_t* base = job.memory.back().get();
    if (job.direction == Direction::write) {
      fill_pattern(job.number, offset, {base, n});
    } else {
      std::memset(base, 0xee, n);
    }
    job.list.push_back({base, n});
    left -= n;
    offset += n;
  }
  job.data = job.list;
}

Job& Jobs::make(Direction direction, std::uint32_t length, std::size_t pieces) {
  all.push_back(std::make_unique<Job>());
  Job& job = *all.back();
  job.number = all.size();
  job.direction = direction;
  job.data_length = length;
  job.cdb_length = 16;
  job.cdb[0] = direction == Direction::write ? 0x8a : direction == Direction::read ? 0x88 : 0x00;
  proto::store_be64(&job.cdb[2], job.number);
  job.lun = 0x0001000000000000ULL;
  job.sink = this;
  if (length > 0) give_memory(job, pieces);
  return job;
}

Job& Jobs::read(std::uint32_t length, std::size_t pieces) {
  Job& job = make(Direction::read, length, pieces);
  queue(job);
  return job;
}

Job& Jobs::write(std::uint32_t length, std::size_t pieces) {
  Job& job = make(Direction::write, length, pieces);
  queue(job);
  return job;
}

Job& Jobs::simple() {
  Job& job = make(Direction::none, 0);
  queue(job);
  return job;
}

void Jobs::queue(Job& job) {
  if (job.data_length > 0 && job.memory.empty()) give_memory(job, 3);
  REQUIRE(job.queued == job.finished);  // lent once at a time
  ++job.queued;
  ++outstanding;
  in_engine([&] { session_.queuecommand(job, 0); });
}

void Jobs::on_command_done(initiator::ScsiCommand& command, proto::Micros) {
  const OutsideEngine outside;
  auto& job = static_cast<Job&>(command);
  ++job.finished;
  --outstanding;
  CHECK(job.finished == job.queued);
  CHECK(job.outcome != Outcome::pending);
  CHECK(job.next == nullptr);
  job.content = job.bytes();
  job.memory.clear();
  job.list.clear();
  job.data = {};
  CHECK((job.proof.has_value() || job.outcome == Outcome::path_lost));
  if (job.outcome == Outcome::aborted && on_aborted) on_aborted(job);
  if (job.outcome == Outcome::transport_disrupted && on_disrupted) on_disrupted(job);
  if (retry && (job.outcome == Outcome::transport_disrupted || job.outcome == Outcome::aborted)) queue(job);
}

}  // namespace nbdgw::test
