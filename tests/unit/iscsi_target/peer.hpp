#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "gateway/iscsi_target/connection.hpp"
#include "gateway/iscsi_target/memory_medium.hpp"
#include "gateway/iscsi_target/server.hpp"
#include "proto/crc32c.hpp"
#include "proto/iscsi/pdu.hpp"
#include "proto/iscsi/text.hpp"
#include "proto/scsi/cdb.hpp"
#include "tests/unit/random.hpp"

/// An initiator for tests that sends exactly what it is told to, right or wrong.
namespace nbdgw::test {

namespace iscsi = proto::iscsi;
namespace scsi = proto::scsi;
using Bytes = std::vector<std::uint8_t>;

inline constexpr const char* kTarget = "iqn.2026-11.io.nbdgw:target";
inline constexpr const char* kInitiator = "iqn.2026-11.io.nbdgw:initiator";

class TestRandom final : public proto::RandomSource {
 public:
  void fill(std::span<std::uint8_t> out) override {
    for (auto& byte : out) byte = static_cast<std::uint8_t>(engine());
  }
  std::mt19937 engine{42};
};

struct Pdu {
  iscsi::Bhs bhs{};
  Bytes data;

  iscsi::Opcode opcode() const { return static_cast<iscsi::Opcode>(iscsi::Prefix::decode(bhs).opcode); }
  template <typename T>
  T as() const {
    return T::decode(bhs);
  }
  std::string text() const { return std::string(data.begin(), data.end()); }
};

inline std::string pairs(std::initializer_list<std::string> list) {
  std::string text;
  for (const auto& pair : list) text += pair + '\0';
  return text;
}

/// A target with two memory disks: LUN 1 of 512-byte blocks, LUN 2 of 4096.
struct World {
  static iscsi_target::ServerOptions options(World& world) {
    iscsi_target::ServerOptions options;
    options.queue_depth = 8;
    options.buffer_bytes = 34 * 1024 * 1024;
    options.targets.push_back({.name = kTarget, .alias = "", .luns = {}});
    options.targets[0].luns.push_back({.number = 1, .medium = &world.disk1, .block_size = 512, .serial = ""});
    options.targets[0].luns.push_back({.number = 2, .medium = &world.disk2, .block_size = 4096, .serial = ""});
    return options;
  }

  World() : World([](iscsi_target::ServerOptions&) {}) {}
  template <typename Change>
  explicit World(Change change, iscsi_target::Gate* gate = nullptr) {
    auto chosen = options(*this);
    change(chosen);
    REQUIRE(iscsi_target::check_options(chosen) == "");
    server = std::make_unique<iscsi_target::Server>(std::move(chosen), random, gate);
  }

  TestRandom random;
  iscsi_target::MemoryMedium disk1{64 * 1024 * 1024};
  iscsi_target::MemoryMedium disk2{64 * 1024 * 1024};
  std::unique_ptr<iscsi_target::Server> server;
  proto::Micros now = 1'000'000;
};

/// One connection of the test initiator.
class Peer {
 public:
  /// `portal`: to which of the portal groups it connects.
  explicit Peer(World& world, std::uint16_t portal = 0)
      : world_(world),
        connection_(std::make_unique<iscsi_target::Connection>(*world.server, "192.0.2.1:3260", world.now, portal)) {}
  ~Peer() { disconnect(); }
  Peer(const Peer&) = delete;

  iscsi_target::Connection& engine() { return *connection_; }
  bool is_open() { return connection_ && !connection_->wants_close(); }
  std::string reason() { return connection_->close_reason(); }

  void disconnect() {
    if (connection_) connection_->on_disconnected(world_.now);
    connection_.reset();
  }

  /// Hands bytes to the engine, in the pieces that `chunk` says (0: as large as the engine takes).
  void feed(const Bytes& bytes, std::size_t chunk = 0) {
    std::size_t at = 0;
    while (at < bytes.size() && is_open()) {
      std::array<iovec, 8> list;
      const std::size_t n = connection_->rx_buffers(list);
      if (n == 0) return;
      std::size_t left = std::min(bytes.size() - at, chunk == 0 ? bytes.size() : chunk);
      std::size_t moved = 0;
      for (std::size_t i = 0; i < n && left > 0; ++i) {
        const std::size_t part = std::min(left, list[i].iov_len);
        std::memcpy(list[i].iov_base, &bytes[at + moved], part);
        moved += part;
        left -= part;
      }
      at += moved;
      connection_->on_received(moved, world_.now);
    }
  }

  template <typename P>
  Bytes bytes_of(P pdu, const Bytes& payload = {}) const {
    if constexpr (requires { pdu.data_length; }) pdu.data_length = static_cast<std::uint32_t>(payload.size());
    iscsi::Bhs bhs;
    pdu.encode(bhs);
    return bytes_of(bhs, payload);
  }
  Bytes bytes_of(const iscsi::Bhs& bhs, const Bytes& payload) const {
    Bytes out(bhs.begin(), bhs.end());
    if (header_digest) append_crc(out, proto::crc32c(0, out.data(), out.size()));
    if (payload.empty()) return out;
    const std::size_t begin = out.size();
    out.insert(out.end(), payload.begin(), payload.end());
    out.resize(out.size() + iscsi::padding(static_cast<std::uint32_t>(payload.size())));
    if (data_digest) append_crc(out, proto::crc32c(0, &out[begin], out.size() - begin));
    return out;
  }

  template <typename P>
  void send(P pdu, const Bytes& payload = {}) {
    feed(bytes_of(pdu, payload));
  }
  template <typename P>
  void send(P pdu, const std::string& text) {
    feed(bytes_of(pdu, Bytes(text.begin(), text.end())));
  }

  /// Takes what the engine wants to send, and cuts it into PDUs.
  void pull(std::size_t chunk = 1 << 30) {
    if (!connection_) return;
    for (;;) {
      std::array<iovec, 64> list;
      const std::size_t n = connection_->tx_buffers(list);
      if (n == 0) break;
      std::size_t taken = 0;
      for (std::size_t i = 0; i < n && taken < chunk; ++i) {
        const std::size_t part = std::min(list[i].iov_len, chunk - taken);
        const auto* from = static_cast<const std::uint8_t*>(list[i].iov_base);
        stream_.insert(stream_.end(), from, from + part);
        taken += part;
      }
      connection_->on_sent(taken, world_.now);
    }
    cut();
  }

  bool empty() {
    pull();
    return received_.empty();
  }
  /// The next PDU from the target; there has to be one.
  Pdu receive() {
    pull();
    REQUIRE_MESSAGE(!received_.empty(), "a PDU from the target; connection: ", connection_->close_reason());
    Pdu pdu = std::move(received_.front());
    received_.pop_front();
    return pdu;
  }
  template <typename T>
  T receive_as(iscsi::Opcode opcode) {
    const Pdu pdu = receive();
    REQUIRE(pdu.opcode() == opcode);
    data = pdu.data;
    return pdu.as<T>();
  }

  /// The value of a text key in the last receive_as(); empty: it is not there.
  std::string data_text(const std::string& key) const {
    const std::string text(data.begin(), data.end());
    const std::size_t at = text.find(key + "=");
    return at == std::string::npos ? "" : std::string(text.c_str() + at + key.size() + 1);
  }

  // ---- login
  // --------------------------------------------------------------------------------------------------------

  static std::string names() {
    return pairs({std::string("InitiatorName=") + kInitiator, std::string("TargetName=") + kTarget});
  }
  iscsi::LoginRequest login_request(iscsi::LoginStage current, iscsi::LoginStage next) const {
    return {.transit = current != next,
            .current_stage = current,
            .next_stage = next,
            .isid = isid,
            .tsih = tsih,
            .itt = 77,
            .cid = cid,
            .cmd_sn = cmd_sn};
  }
  /// Straight into the full feature phase through the operational stage.
  void log_in(const std::string& keys = {}) {
    send(login_request(iscsi::LoginStage::operational, iscsi::LoginStage::full_feature), names() + keys);
    const auto response = receive_as<iscsi::LoginResponse>(iscsi::Opcode::login_response);
    REQUIRE(response.status == iscsi::LoginStatus::success);
    REQUIRE(response.transit);
    tsih = response.tsih;
    stat_sn = response.sequence.stat_sn + 1;
    max_cmd_sn = response.sequence.max_cmd_sn;
  }
  /// Takes the unit attentions that a new session has for its logical units.
  void clear_attentions() {
    for (const std::uint64_t lun : {1ULL, 2ULL}) {
      command(scsi::test_unit_ready(), {}, lun << 48);
      CHECK(receive_as<iscsi::ScsiResponse>(iscsi::Opcode::scsi_response).status.status == 2);
    }
  }

  // ---- requests
  // -----------------------------------------------------------------------------------------------------

  struct Flags {
    bool read = false;
    bool write = false;
    bool final = true;
    bool immediate = false;
    std::uint32_t length = 0;  // Expected Data Transfer Length
  };
  iscsi::ScsiCommandPdu command_pdu(const scsi::Cdb& cdb, Flags flags, std::uint64_t lun = 1ULL << 48) {
    iscsi::ScsiCommandPdu pdu{.immediate = flags.immediate,
                              .final = flags.final,
                              .read = flags.read,
                              .write = flags.write,
                              .lun = lun,
                              .itt = ++itt,
                              .expected_length = flags.length,
                              .cmd_sn = cmd_sn};
    std::copy_n(cdb.bytes.begin(), 16, pdu.cdb.begin());
    if (!flags.immediate) ++cmd_sn;
    return pdu;
  }
  std::uint32_t command(const scsi::Cdb& cdb, Flags flags, std::uint64_t lun = 1ULL << 48,
                        const Bytes& payload = {}) {
    send(command_pdu(cdb, flags, lun), payload);
    return itt;
  }
  static scsi::Cdb read_cdb(std::uint64_t lba, std::uint32_t blocks) {
    return scsi::ReadWrite{.lba = lba, .blocks = blocks}.build();
  }
  static scsi::Cdb write_cdb(std::uint64_t lba, std::uint32_t blocks, bool fua = false) {
    return scsi::ReadWrite{.write = true, .lba = lba, .blocks = blocks, .fua = fua}.build();
  }

  World& world() { return world_; }

  iscsi::Isid isid{0x80, 1, 2, 3, 0, 1};
  std::uint16_t tsih = 0;
  std::uint16_t cid = 0;
  std::uint32_t cmd_sn = 100;
  std::uint32_t max_cmd_sn = 0;
  std::uint32_t stat_sn = 0;  // the next one expected
  std::uint32_t itt = 0;
  bool header_digest = false;
  bool data_digest = false;
  bool takes_wrong_digests = false;  // and counts them
  std::size_t wrong_digests = 0;
  Bytes data;  // of the last receive_as()

 private:
  static void append_crc(Bytes& out, std::uint32_t crc) {
    for (int i = 0; i < 4; ++i) out.push_back(static_cast<std::uint8_t>(crc >> (8 * i)));
  }

  void cut() {
    const std::size_t header = 48U + (header_digest ? 4U : 0U);
    while (stream_.size() >= header) {
      Pdu pdu;
      std::copy_n(stream_.begin(), 48, pdu.bhs.begin());
      const std::size_t length = iscsi::Prefix::decode(pdu.bhs).data_length;
      const std::size_t padded = length + iscsi::padding(static_cast<std::uint32_t>(length));
      const std::size_t whole = header + padded + (data_digest && length > 0 ? 4U : 0U);
      if (stream_.size() < whole) return;
      if (header_digest) check_crc(0, 48);
      if (data_digest && length > 0) check_crc(header, padded);
      pdu.data.assign(stream_.begin() + static_cast<long>(header),
                      stream_.begin() + static_cast<long>(header + length));
      stream_.erase(stream_.begin(), stream_.begin() + static_cast<long>(whole));
      received_.push_back(std::move(pdu));
    }
  }
  void check_crc(std::size_t at, std::size_t length) {
    Bytes expected;
    append_crc(expected, proto::crc32c(0, &stream_[at], length));
    if (std::equal(expected.begin(), expected.end(), stream_.begin() + static_cast<long>(at + length))) return;
    ++wrong_digests;
    CHECK(takes_wrong_digests);
  }

  World& world_;
  std::unique_ptr<iscsi_target::Connection> connection_;
  Bytes stream_;
  std::deque<Pdu> received_;
};

}  // namespace nbdgw::test
