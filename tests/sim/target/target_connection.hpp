#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/target/controller.hpp"
#include "tests/sim/target/line.hpp"
#include "tests/sim/target/lun.hpp"
#include "tests/sim/target/pdu.hpp"
#include "tests/sim/target/protocol_checker.hpp"

namespace nbdgw::sim {

class TargetLogin;

/// What was negotiated for one connection.
struct ConnectionTerms {
  std::uint32_t segment = 8192;  // the initiator's MaxRecvDataSegmentLength
  bool header_digest = false;
  bool data_digest = false;
};

/// What goes into a SCSI Response or the last Data-In.
struct Ending {
  Completion completion;
  Piece data;                   // of a read
  bool tells_residual = true;   // else what is missing is kept quiet about
  bool attaches_sense = false;  // even to GOOD
  bool target_failure = false;
};

/// The target's end of an iSCSI connection: bytes to PDUs and back, StatSN.
class TargetConnection {
 public:
  TargetConnection(Array& array, Controller& controller, Line& line, std::uint32_t number);
  ~TargetConnection();

  // ---- from the wire ----

  void on_bytes(Piece bytes);
  /// The initiator sends no more; with `reset` the connection is no more.
  void on_end(bool reset);

  // ---- what it is ----

  std::uint32_t number() const noexcept { return number_; }
  std::uint16_t cid() const noexcept { return cid_; }
  Controller& controller() noexcept { return controller_; }
  TargetSession* session() const noexcept { return session_; }
  bool dead() const noexcept { return line_ == nullptr; }
  bool in_full_feature() const noexcept { return session_ != nullptr && !dead() && !leaving_; }
  std::uint32_t next_stat_sn() const noexcept { return stat_sn_; }
  const ConnectionTerms& terms() const noexcept { return terms_; }
  SequenceWatch& watch() noexcept { return watch_; }
  std::string name() const;

  // ---- its life ----

  /// It belongs to the session from now on.
  void start(TargetSession& session, std::uint16_t cid);
  /// The login is over, with its last answer: from now on this holds.
  void agree(const ConnectionTerms& terms);
  /// What was written before leaves first, but for a reset. Its commands are lost.
  void drop(Cut cut);
  /// As the initiator has: the connection is over.
  void close_side();
  bool leaving() const noexcept { return leaving_; }
  void half_close();
  void stall(bool yes);
  void read(bool on);
  /// It stands still: what the initiator does cannot be seen here.
  /// Nothing comes over it.
  bool stalled() const noexcept { return stalled_; }
  bool disturbed() const noexcept { return stalled_ || controller_.is_frozen(); }
  /// When that has begun or ended, last; 0: never.
  Micros disturbed_at() const noexcept { return disturbed_at_; }
  /// A command that came over it is over.
  void command_over();
  void command_came() noexcept { ++commands_; }

  // ---- sending ----

  /// Sequence numbers; with `counts` the PDU uses a StatSN up.
  void stamp(pdu::Header& bhs, bool counts);
  /// Adds lengths, padding and digests. It leaves when the event is over.
  void emit(pdu::Header& bhs, const Piece& data = {});
  void respond(TargetCommand& command, const Ending& ending);
  void request_data(TargetCommand& command, const OpenR2t& r2t);
  void reject(std::uint8_t reason, const std::uint8_t* bhs);
  void nop_in(std::uint32_t itt, const Piece& data);
  /// Wants to be answered.
  void ping();
  void on_ping_answer(const pdu::Request& request);
  std::size_t open_pings() const noexcept { return pings_.size(); }
  void async(std::uint8_t event, std::uint32_t one = 0, std::uint32_t two = 0, std::uint32_t three = 0);
  void flush();

  /// Answered lately: data for them may still come.
  void remember(std::uint32_t itt) noexcept { answered_[next_answered_++ % answered_.size()] = itt; }
  bool remembers(std::uint32_t itt) const noexcept;

 private:
  struct Ping {
    std::uint32_t ttt;
    std::uint64_t lun;
  };
  struct Residual {
    std::uint8_t flags = 0;
    std::uint32_t count = 0;
  };
  bool measure();
  void take_in(ByteBuffer& to, std::size_t wanted, Piece& bytes);
  Piece take_data(Piece& bytes);
  void take(const Piece& data);
  bool check_digests(const pdu::Request& request);
  void wrong_digest(pdu::Request request, const char* which);
  void send_data_in(TargetCommand& command, const Piece& data, bool with_status, const Residual& residual);
  void send_response(TargetCommand& command, const Ending& ending, const Residual& residual);
  Bytes sense_data(const scsi::Sense& sense);
  void note_news(TargetCommand& command, const Completion& completion);
  void let_go(Cut cut);

  Array& array_;
  Controller& controller_;
  Line* line_;
  const std::uint32_t number_;
  std::uint16_t cid_ = 0;
  TargetSession* session_ = nullptr;
  std::unique_ptr<TargetLogin> login_;
  ConnectionTerms terms_;
  SequenceWatch watch_;
  std::uint32_t stat_sn_;
  // The PDU that is coming in.
  ByteBuffer head_;              // its header, with AHS and digest
  Row data_;                     // its data, if that comes in more than one piece
  ByteBuffer tail_;              // padding, and digest
  std::size_t wanted_head_ = 0;  // lengths of these; 0: not known yet
  std::size_t wanted_data_ = 0;
  std::size_t wanted_tail_ = 0;
  Rows out_;  // leaves when the event is over
  ByteBuffer scratch_;
  std::vector<Ping> pings_;
  std::array<std::uint32_t, 256> answered_;
  std::size_t next_answered_ = 0;
  std::uint32_t commands_ = 0;
  Micros disturbed_at_ = 0;
  bool stalled_ = false;
  bool dirty_ = false;
  bool leaving_ = false;  // the initiator sends no more
};

}  // namespace nbdgw::sim
