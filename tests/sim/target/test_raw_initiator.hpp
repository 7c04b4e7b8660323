#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/target/digest.hpp"
#include "tests/sim/target/pdu.hpp"
#include "tests/sim/target/scsi.hpp"
#include "tests/sim/target/target_model.hpp"

namespace nbdgw::sim {

using Buffer = std::vector<std::uint8_t>;

/// A PDU of the target.
struct ReceivedPdu {
  pdu::Header bhs{};
  Buffer data;
  std::uint8_t opcode() const { return bhs[0] & 0x3f; }
  std::uint32_t itt() const { return be32(&bhs[16]); }
};

/// An initiator by hand, on a line of its own: bytes in, bytes out.
class RawLink final : public Line {
 public:
  explicit RawLink(Controller& controller) : port_(controller.connect(*this)) {}
  ~RawLink() { finish(true); }
  RawLink(const RawLink&) = delete;
  RawLink& operator=(const RawLink&) = delete;

  void send(std::span<const Piece> pieces) override {
    for (const Piece& piece : pieces) in_.insert(in_.end(), piece.data(), piece.data() + piece.size());
  }
  std::size_t backlog() const override { return in_.size(); }
  void read(bool on) override { reads_ = on; }
  void stall(bool) override {}
  void half_close() override { fin = true; }
  void close() override { fin = over = true; }
  void reset() override { over = true; }
  void vanish() override { over = true; }

  /// To the target, in pieces of that size; 0: in one.
  void transmit(Bytes bytes, std::size_t piece = 0) {
    out_.insert(out_.end(), bytes.begin(), bytes.end());
    piece_ = piece;
    deliver();
  }
  /// What the target has not read yet, and may read now.
  void deliver() {
    std::size_t done = 0;
    while (reads_ && !over && done < out_.size()) {
      const std::size_t part = piece_ == 0 ? out_.size() - done : std::min(piece_, out_.size() - done);
      const Buffer bytes(out_.begin() + static_cast<std::ptrdiff_t>(done),
                         out_.begin() + static_cast<std::ptrdiff_t>(done + part));
      done += part;
      port_.on_bytes(Bytes(bytes));
    }
    out_.erase(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(done));
  }
  void finish(bool reset) {
    if (over) return;
    if (reset) over = true;
    port_.on_end(reset);
  }
  /// The next PDU of the target.
  std::optional<ReceivedPdu> next() {
    const std::size_t digest = header_digest ? 4 : 0;
    if (in_.size() < pdu::kHeader + digest) return std::nullopt;
    const std::size_t length = be24(&in_[5]);
    const std::size_t begin = pdu::kHeader + digest;
    const std::size_t end = begin + padded(length) + (data_digest && length > 0 ? 4 : 0);
    if (in_.size() < end) return std::nullopt;
    ReceivedPdu received;
    std::copy_n(in_.begin(), pdu::kHeader, received.bhs.begin());
    received.data.assign(in_.begin() + static_cast<std::ptrdiff_t>(begin),
                         in_.begin() + static_cast<std::ptrdiff_t>(begin + length));
    digests_right = digests_right && (!header_digest || crc_of(received.bhs) == read_digest(&in_[pdu::kHeader]));
    if (data_digest && length > 0) {
      digests_right = digests_right && crc_of({&in_[begin], padded(length)}) == read_digest(&in_[end - 4]);
    }
    in_.erase(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(end));
    return received;
  }

  bool over = false;
  bool fin = false;
  bool header_digest = false;
  bool data_digest = false;
  bool digests_right = true;
  std::uint16_t cid = 0;
  std::uint32_t exp_stat_sn = 0;

 private:
  Buffer in_;
  Buffer out_;
  std::size_t piece_ = 0;
  bool reads_ = true;
  ConnectionPort port_;
};

/// What came of a command.
struct Result {
  bool over = false;
  bool rejected = false;
  std::uint8_t status = 0xff;
  std::uint8_t flags = 0;
  std::uint32_t residual = 0;
  Buffer data;
  Buffer sense;

  bool good() const { return over && !rejected && status == scsi::kGood; }
  scsi::Sense what() const {
    if (sense.size() < 6) return {};
    if (sense[2] >= 0x72) return {sense[3], sense[4], sense[5]};
    return {static_cast<std::uint8_t>(sense[4] & 0xf), sense[14], sense[15]};
  }
};

/// A session by hand. Data is sent as it is asked for, and pings are answered, unless they are held back.
class RawInitiator {
 public:
  RawInitiator(Timeline& timeline, Target& target) : timeline_(timeline), target_(target) {}

  /// Logs in, and returns the status; `keys` instead of the usual ones.
  std::uint16_t login(std::size_t controller = 0, const std::string& keys = "");
  std::uint32_t begin(std::size_t link, std::uint64_t lun, const Buffer& cdb, bool reads, std::uint32_t expected,
                      const Buffer& data = {});
  Result run(const Buffer& cdb, bool reads = false, std::uint32_t expected = 0, const Buffer& data = {});
  /// Wants to be answered; returns its tag.
  std::uint32_t nop_out(std::size_t link);
  std::uint8_t function(std::uint8_t code, std::uint32_t itt = pdu::kNoTag, std::size_t link = 0);
  void send_function(std::uint8_t code, std::uint32_t itt, std::size_t link = 0);
  void transmit(std::size_t link, pdu::Header& bhs, Bytes data = {});
  /// Takes what has come.
  void pump();
  /// Lets the world go on for that long.
  void wait(Micros time);

  std::vector<std::unique_ptr<RawLink>> links;
  std::map<std::uint32_t, Result> results;
  std::map<std::uint32_t, Buffer> unsent;                // data of writes
  std::vector<ReceivedPdu> others;                       // no answers to commands
  std::deque<std::pair<std::size_t, ReceivedPdu>> held;  // R2Ts
  bool holds_data = false;
  std::string text;  // of the last login
  std::uint16_t tsih = 0;
  std::uint32_t cmd_sn = 100;
  std::uint32_t next_itt = 1;
  std::uint32_t max_cmd_sn = 0;
  std::uint32_t exp_cmd_sn = 0;
  std::uint32_t segment = 8192;  // the target's
  bool immediate_data = true;
  bool initial_r2t = true;
  std::uint32_t first_burst = 65536;
  std::size_t piece = 0;
  std::map<std::uint32_t, std::pair<std::uint64_t, std::uint32_t>> sent;  // LUN and CmdSN by ITT

 private:
  void take(std::size_t link, ReceivedPdu received);
  /// So much of a command's data, from there on.
  void send_data(std::size_t link, std::uint32_t itt, std::uint32_t ttt, std::uint32_t offset, std::uint32_t length);

  Timeline& timeline_;
  Target& target_;
};

}  // namespace nbdgw::sim
