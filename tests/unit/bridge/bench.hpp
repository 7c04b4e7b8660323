#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gateway/bridge/export.hpp"
#include "gateway/nbd/connection.hpp"
#include "tests/unit/bridge/fake_lun.hpp"

/// What a client sees of a request: made by the bench, in place of the protocol engine.
struct Reply {
  nbdgw::nbd::Request* request = nullptr;
  bool finished = false;
  nbdgw::proto::nbd::Error error = nbdgw::proto::nbd::Error::none;
  std::string text;
  std::uint32_t bytes = 0;         // READ: told by segment_done()
  std::vector<std::uint8_t> data;  // READ: what came
};

/// A connection that is attached to the export of a bench. Its requests are the bench's business.
class BenchClient final {
 public:
  BenchClient(nbdgw::bridge::Export& target, nbdgw::nbd::LossStanding standing, nbdgw::proto::Micros now);

  nbdgw::nbd::Connection connection;
};

/// An export with a LUN behind it and clients before it.
class Bench final : public nbdgw::bridge::Replies {
 public:
  static constexpr std::uint32_t kMaxPayload = 4 * 1024 * 1024;

  explicit Bench(LunOptions lun_options = {}, nbdgw::bridge::ExportConfig config = {},
                 std::size_t memory = 16 * 1024 * 1024, nbdgw::bridge::DiskDirectory* disks = nullptr,
                 std::uint32_t reserved = 0);

  /// Another client; requests come from it from now on. Its number: the first one, which comes by itself with the
  /// first request, is 0.
  std::size_t attach(nbdgw::nbd::LossStanding standing = nbdgw::nbd::LossStanding::newcomer);
  /// It goes; its requests must have been abandoned.
  void detach(std::size_t client) { clients.at(client).reset(); }

  /// Brings the session up and ends the probe. `outage`: how long the target was away.
  void connect(nbdgw::proto::Micros outage = 0);
  /// The session comes back: ends the probe, and nothing else.
  void reconnect();
  /// The session breaks; nothing that waits is executed.
  void lose_session();
  /// What the export has told of its cache since the last call; of the LUN itself: unit_events().
  std::vector<nbdgw::bridge::CacheEvent> events() { return take_events(true); }
  std::vector<nbdgw::bridge::CacheEvent> unit_events() { return take_events(false); }
  /// Ends all waiting commands, and those that follow, until nothing is left to do, as they should.
  void run();
  /// As the shell of the export, which must have rung if it wants its turn.
  void deliver();
  /// Lets time pass until the export wants to be called, and calls it.
  void wait_for_deadline();

  /// Admits a request and has it begin; a WRITE gets all of its payload.
  Reply* read(std::uint64_t offset, std::uint32_t length);
  Reply* write(std::uint64_t offset, std::span<const std::uint8_t> data, std::uint16_t flags = 0);
  Reply* write(std::uint64_t offset, std::uint32_t length, std::uint8_t value, std::uint16_t flags = 0);
  Reply* simple(nbdgw::proto::nbd::Command command, std::uint64_t offset, std::uint32_t length,
                std::uint16_t flags = 0);
  Reply* flush() { return simple(nbdgw::proto::nbd::Command::flush, 0, 0); }
  Reply* trim(std::uint64_t offset, std::uint32_t length, std::uint16_t flags = 0) {
    return simple(nbdgw::proto::nbd::Command::trim, offset, length, flags);
  }
  Reply* zero(std::uint64_t offset, std::uint32_t length, std::uint16_t flags = 0) {
    return simple(nbdgw::proto::nbd::Command::write_zeroes, offset, length, flags);
  }

  /// The single steps. admit() returns nullptr when there is no room.
  Reply* admit(nbdgw::proto::nbd::Command command, std::uint64_t offset, std::uint32_t length,
               std::uint16_t flags = 0) {
    return admit(stake, command, offset, length, flags);
  }
  Reply* admit(nbdgw::nbd::Stake& client, nbdgw::proto::nbd::Command command, std::uint64_t offset,
               std::uint32_t length, std::uint16_t flags = 0);
  nbdgw::nbd::Segment* fill(Reply& reply, std::span<const std::uint8_t> data);  // the next segment, from all the data
  nbdgw::nbd::Segment* try_to_fill(Reply& reply, std::span<const std::uint8_t> data);  // nullptr: there is none now
  void received(Reply& reply, nbdgw::nbd::Segment& segment);
  void abandon(Reply& reply);

  void segment_done(nbdgw::nbd::Request& request, nbdgw::nbd::Segment& segment) override;
  void finish(nbdgw::nbd::Request& request, nbdgw::proto::nbd::Error error, const char* text) override;

  std::vector<nbdgw::bridge::CacheEvent> take_events(bool of_cache);

  /// Everything came back: checks it.
  void check_idle() const;

  std::vector<std::byte> arena;
  nbdgw::proto::BufferPool pool;
  nbdgw::bridge::Shares shares;
  nbdgw::proto::Bell bell;
  nbdgw::nbd::Stake stake;  // of the only client, unless another one is given
  FakeLun lun;
  std::unique_ptr<nbdgw::bridge::Export> target;
  nbdgw::proto::Micros now = 1'000'000;
  std::vector<std::unique_ptr<Reply>> replies;
  std::vector<nbdgw::bridge::CacheEvent> told;
  std::vector<std::unique_ptr<BenchClient>> clients;
  std::size_t asks = 0;         // the client that requests come from
  bool release_at_once = true;  // the requests, as soon as they are answered
};
