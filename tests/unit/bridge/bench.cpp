#include "tests/unit/bridge/bench.hpp"

#include <cstring>

#include <doctest/doctest.h>

#include "proto/bytes/iovecs.hpp"

using nbdgw::bridge::ExportConfig;
using nbdgw::bridge::ExportState;
using nbdgw::proto::nbd::Command;
using nbdgw::proto::nbd::Error;

namespace nbd = nbdgw::nbd;

namespace {

ExportConfig with_defaults(ExportConfig config) {
  if (config.name.empty()) config.name = "vol0";
  config.max_payload = Bench::kMaxPayload;
  // The clock of a test leaps; who wants the look after a silence says so.
  if (config.silence == nbdgw::bridge::kTrustedSilence) config.silence = nbdgw::proto::kNever;
  return config;
}

}  // namespace

Bench::Bench(LunOptions lun_options, ExportConfig config, std::size_t memory, nbdgw::bridge::DiskDirectory* disks,
             std::uint32_t reserved)
    : arena(memory),
      pool(arena),
      shares(pool, reserved, nbdgw::bridge::memory_for(kMaxPayload)),
      lun(lun_options),
      target(std::make_unique<nbdgw::bridge::Export>(with_defaults(config), shares, lun, disks)) {
  target->set_bell(&bell);
}

void Bench::deliver() {
  if (target->wants_turn()) REQUIRE(bell.rung());
  bell.hush();
  target->deliver(*this, now);
  bell.listen();
  if (target->wants_turn()) bell.ring();
}

// As after a restart: such a connection attaches without a conversation.
BenchClient::BenchClient(nbdgw::bridge::Export& target, nbd::LossStanding standing, nbdgw::proto::Micros now)
    : connection(nbd::KeptConnection{.info = {}, .structured = false, .standing = standing, .unread = {}}, {}, now) {
  connection.expect_export(target);
}

std::size_t Bench::attach(nbd::LossStanding standing) {
  clients.push_back(std::make_unique<BenchClient>(*target, standing, now));
  return asks = clients.size() - 1;
}

void Bench::connect(nbdgw::proto::Micros outage) {
  target->on_session_up(outage, now);
  run();
  REQUIRE(target->status().state == ExportState::online);
}

void Bench::wait_for_deadline() {
  const auto next = target->next_deadline();
  REQUIRE(next != nbdgw::proto::kNever);
  now = std::max(now, next);
  target->on_deadline(now);
  deliver();
}

void Bench::reconnect() {
  target->on_session_up(0, now);
  while (target->state() == nbdgw::bridge::ExportState::probing) lun.complete(0, now);
  deliver();
}

void Bench::lose_session() {
  lun.disrupt([](const FakeLun::Command&) { return false; }, now);
  target->on_session_down("connection reset", now);
  deliver();
}

std::vector<nbdgw::bridge::CacheEvent> Bench::take_events(bool of_cache) {
  using nbdgw::bridge::CacheEvent;
  for (CacheEvent event; target->next_event(event);) told.push_back(event);
  std::vector<CacheEvent> wanted;
  std::vector<CacheEvent> rest;
  for (const CacheEvent& event : told) {
    const bool cache = event.kind == CacheEvent::Kind::in_doubt || event.kind == CacheEvent::Kind::told;
    (cache == of_cache ? wanted : rest).push_back(event);
  }
  told = std::move(rest);
  return wanted;
}

void Bench::run() {
  deliver();
  while (!lun.waiting.empty()) {
    now += 10;
    lun.complete(0, now);
    deliver();
  }
}

Reply* Bench::admit(nbd::Stake& client, Command command, std::uint64_t offset, std::uint32_t length,
                    std::uint16_t flags) {
  auto reply = std::make_unique<Reply>();
  const nbd::RequestHeader header{.cookie = reinterpret_cast<std::uintptr_t>(reply.get()),
                                  .command = command,
                                  .flags = flags,
                                  .offset = offset,
                                  .length = length};
  if (clients.empty()) attach();
  reply->request = target->admit(header, clients.at(asks)->connection, client, now);
  if (reply->request == nullptr) return nullptr;
  reply->data.resize(command == Command::read ? length : 0);
  replies.push_back(std::move(reply));
  return replies.back().get();
}

nbd::Segment* Bench::fill(Reply& reply, std::span<const std::uint8_t> data) {
  nbd::Segment* const segment = try_to_fill(reply, data);
  REQUIRE(segment != nullptr);
  return segment;
}

nbd::Segment* Bench::try_to_fill(Reply& reply, std::span<const std::uint8_t> data) {
  nbd::Segment* const segment = target->next_write_segment(*reply.request);
  if (segment == nullptr) return nullptr;
  REQUIRE(nbdgw::proto::total_length(segment->payload) == segment->length);
  const std::uint64_t at = segment->offset - reply.request->header.offset;
  REQUIRE(at + segment->length <= data.size());
  nbdgw::proto::copy_in(segment->payload, 0, data.data() + at, segment->length);
  return segment;
}

void Bench::received(Reply& reply, nbd::Segment& segment) {
  target->segment_received(*reply.request, segment, now);
}

Reply* Bench::read(std::uint64_t offset, std::uint32_t length) {
  return simple(Command::read, offset, length);
}

Reply* Bench::simple(Command command, std::uint64_t offset, std::uint32_t length, std::uint16_t flags) {
  Reply* const reply = admit(command, offset, length, flags);
  REQUIRE(reply != nullptr);
  target->start(*reply->request, now);
  return reply;
}

Reply* Bench::write(std::uint64_t offset, std::span<const std::uint8_t> data, std::uint16_t flags) {
  const auto length = static_cast<std::uint32_t>(data.size());
  Reply* const reply = admit(Command::write, offset, length, flags);
  REQUIRE(reply != nullptr);
  for (std::uint32_t done = 0; done < length;) {
    nbd::Segment* const segment = try_to_fill(*reply, data);
    if (segment == nullptr) return reply;  // it fails
    REQUIRE(segment->offset == offset + done);
    done += segment->length;
    received(*reply, *segment);
  }
  return reply;
}

Reply* Bench::write(std::uint64_t offset, std::uint32_t length, std::uint8_t value, std::uint16_t flags) {
  return write(offset, std::vector<std::uint8_t>(length, value), flags);
}

void Bench::abandon(Reply& reply) {
  nbd::Request& request = *reply.request;
  reply.request = nullptr;
  target->abandon(request);
}

void Bench::segment_done(nbd::Request& request, nbd::Segment& segment) {
  Reply& reply = *reinterpret_cast<Reply*>(request.header.cookie);
  REQUIRE(reply.request == &request);
  REQUIRE_FALSE(reply.finished);
  REQUIRE(request.header.command == Command::read);
  REQUIRE(segment.offset >= request.header.offset);
  const std::uint64_t at = segment.offset - request.header.offset;
  REQUIRE(at + segment.length <= request.header.length);
  REQUIRE(nbdgw::proto::total_length(segment.payload) == segment.length);
  nbdgw::proto::copy_out(segment.payload, 0, reply.data.data() + at, segment.length);
  reply.bytes += segment.length;
  if (release_at_once) target->release(request, segment);
}

void Bench::finish(nbd::Request& request, Error error, const char* text) {
  Reply& reply = *reinterpret_cast<Reply*>(request.header.cookie);
  REQUIRE(reply.request == &request);
  REQUIRE_FALSE(reply.finished);
  REQUIRE((error == Error::none) == (text == nullptr));
  if (error == Error::none && request.header.command == Command::read) REQUIRE(reply.bytes == request.header.length);
  reply.finished = true;
  reply.error = error;
  if (text != nullptr) reply.text = text;
  if (!release_at_once) return;
  reply.request = nullptr;
  target->release(request);
}

void Bench::check_idle() const {
  CHECK(target->idle());
  CHECK(target->in_flight() == 0);
  CHECK(pool.used() == 0);
}
