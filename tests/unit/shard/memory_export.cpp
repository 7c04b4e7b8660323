#include "tests/unit/shard/memory_export.hpp"

#include <algorithm>

#include "gateway/nbd/connection.hpp"
#include "proto/bytes/iovecs.hpp"
#include "tests/unit/test_client.hpp"
#include "tests/unit/waiting.hpp"

namespace nbdgw::test {

using proto::nbd::Command;

MemoryExport::MemoryExport(shard::Shard& shard, std::string name, std::size_t size) : shard_(shard), disk_(size) {
  info_.name = std::move(name);
  info_.size = size;
  shard.add_export(*this);
  shard.add_station(*this);
}

nbd::Request* MemoryExport::admit(const nbd::RequestHeader& header, nbd::Connection& connection, nbd::Stake&,
                                  proto::Micros now) {
  auto work = std::make_unique<Work>();
  work->header = header;
  work->connection = &connection;
  work->arrived_at = now;
  const bool payload = header.command == Command::read || header.command == Command::write;
  for (std::uint32_t done = 0; payload && done < header.length;) {
    auto part = std::make_unique<Part>();
    part->offset = header.offset + done;
    part->length = std::min(kPart, header.length - done);
    part->blocks = shard_.pool().allocate(part->length, part->memory);
    if (part->blocks == 0) {
      for (const auto& other : work->parts) free(*other);
      return nullptr;
    }
    part->payload = std::span<const iovec>(part->memory).first(part->blocks);
    done += part->length;
    if (!work->parts.empty()) work->parts.back()->next = part.get();
    work->parts.push_back(std::move(part));
  }
  if (header.command == Command::read) work->segments = work->parts.front().get();
  Work& kept = *work;
  kept.place = all_.insert(all_.end(), std::move(work));
  return &kept;
}

nbd::Segment* MemoryExport::next_write_segment(nbd::Request& request) {
  auto& work = static_cast<Work&>(request);
  return work.parts[work.handed_out++].get();
}

void MemoryExport::segment_received(nbd::Request& request, nbd::Segment&, proto::Micros) {
  auto& work = static_cast<Work&>(request);
  work.ready = ++work.received == work.parts.size();
  bell().ring();
}

void MemoryExport::start(nbd::Request& request, proto::Micros) {
  static_cast<Work&>(request).ready = true;
  bell().ring();
}

bool MemoryExport::wants_turn() const noexcept {
  return !hold && std::ranges::any_of(all_, [](const auto& work) { return work->ready && !work->answered; });
}

void MemoryExport::deliver(proto::Micros) {
  if (hold) return;
  for (const auto& work : all_) {
    if (work->ready && !work->answered) complete(*work);
  }
}

void MemoryExport::complete(Work& work) {
  work.answered = true;
  for (const auto& part : work.parts) {
    if (work.header.command == Command::write) {
      proto::copy_out(part->payload, 0, disk_.data() + part->offset, part->length);
    } else {
      proto::copy_in(part->payload, 0, disk_.data() + part->offset, part->length);
      work.connection->segment_done(work, *part);
    }
  }
  work.connection->finish(work, proto::nbd::Error::none);
}

void MemoryExport::release(nbd::Request&, nbd::Segment& segment) {
  free(static_cast<Part&>(segment));
}

void MemoryExport::release(nbd::Request& request) {
  free(static_cast<Work&>(request));
}

void MemoryExport::abandon(nbd::Request& request) {
  free(static_cast<Work&>(request));
}

void MemoryExport::free(Work& work) {
  for (const auto& part : work.parts) free(*part);
  all_.erase(work.place);
}

void MemoryExport::free(Part& part) {
  if (part.blocks > 0) shard_.pool().release(std::span<const iovec>(part.memory).first(part.blocks));
  part.blocks = 0;
}

void MemoryExport::await_in_flight(std::size_t count) {
  until([&] { return on_shard(shard_, [&] { return in_flight(); }) >= count; });
}

}  // namespace nbdgw::test
