#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "tests/unit/initiator/peer.hpp"

namespace nbdgw::test {

/// A target by the book, behind the connections of a Peer: it logs connections in, serves reads with pattern(), takes
/// writes apart and checks every rule of RFC 7143 that the initiator's PDUs must keep. What it does next, and how it
/// cuts things up, is drawn from the generator.
class ModelTarget {
 public:
  ModelTarget(Peer& peer, std::uint64_t seed);

  // The book.
  std::uint32_t window = 16;
  std::uint32_t max_outstanding_r2t = 1;
  std::uint32_t max_burst = 65536;
  std::uint32_t first_burst = 16384;
  bool initial_r2t = false;
  bool immediate_data = true;
  std::uint32_t max_data_in = 20'000;
  /// Writes that end with CHECK CONDITION as soon as the command is there, one in so many; 0 never.
  unsigned early_failures = 0;

  // Trouble; none of it unless asked for.
  /// Commands that are never answered, and writes that are never done, until something ends them: one in so many.
  unsigned hangs = 0;
  /// Jobs whose next command hangs.
  std::set<std::uint64_t> hang_once;
  /// What a task management function gets. `by_the_book` does what it asks.
  enum class TmfAnswer { by_the_book, refused, does_not_exist, rejected, hangs };
  std::function<TmfAnswer(const proto::iscsi::TaskManagementRequest&)> tmf_answer;
  /// Answers to tasks that a function has ended, sent behind the function's or before: one task in so many.
  unsigned late_answers = 0;
  /// PDUs stay in the socket for a while before the target reads them: of one connection longer than of another.
  bool lags = false;
  /// Writes that have all of their data when the session is lost go on inside SCSI, where only a reset finds them.
  bool goes_on_inside = false;
  std::uint64_t went_on = 0;
  std::uint64_t hung = 0;
  std::uint64_t late_answers_sent = 0;
  std::vector<proto::iscsi::TaskManagementFunction> functions;  // that came, in their order

  /// The keys that a Peer answers logins with, in agreement with the above.
  TargetKeys keys(std::uint16_t connections) const;

  /// A command of before this target was there: its data may still come, and is thrown away.
  void ignore(std::uint32_t itt) { over_.insert(itt); }

  /// Sends some of what is due. False when nothing is.
  bool act();
  /// act() and pump() until nothing moves.
  void run();

  /// What was written, by the job's number; only writes that ended GOOD.
  std::map<std::uint64_t, Bytes> written;
  std::uint64_t commands = 0;
  std::uint64_t questions = 0;  // of them, TEST UNIT READYs of the ladder
  std::uint64_t data_outs = 0;
  std::uint64_t r2ts = 0;
  std::map<std::uint16_t, std::uint64_t> commands_on;  // by connection
  std::size_t most_r2ts = 0;                           // outstanding at once in one task

 private:
  struct Burst {
    std::uint32_t ttt = 0;
    std::uint32_t offset = 0;
    std::uint32_t length = 0;
    std::uint32_t done = 0;
    std::uint32_t data_sn = 0;
  };
  struct Work {
    std::uint16_t cid = 0;
    std::uint32_t itt = 0;
    std::uint64_t number = 0;
    std::uint64_t lun = 0;
    std::uint32_t cmd_sn = 0;
    bool write = false;
    bool fails = false;
    bool hangs = false;
    std::uint32_t length = 0;
    Bytes data;                  // of a write, as far as it is there
    std::uint32_t sent = 0;      // of a read
    std::uint32_t asked = 0;     // of a write: immediate, unsolicited and R2Ts so far
    std::uint32_t sequence = 0;  // DataSN or R2TSN
    bool unsolicited = false;    // more of it is to come
    std::deque<Burst> bursts;    // the first is being filled
  };

  void on_pdu(std::uint16_t cid, const Pdu& pdu);
  void take(std::uint16_t cid, const Pdu& pdu);
  bool read_socket();
  void check_over(const Job& job);
  bool belongs_to(const Pdu& pdu, const Job& job) const;
  void on_connect(std::uint16_t cid);
  void command(std::uint16_t cid, const Pdu& pdu);
  void task_management(std::uint16_t cid, const Pdu& pdu);
  proto::iscsi::TaskManagementResult carry_out(std::uint16_t cid, const proto::iscsi::TaskManagementRequest& request);
  void end_by_function(const Work& work);
  void answer_late(const Work& work);
  void data_out(std::uint16_t cid, const Pdu& pdu);
  void take_cmd_sn(std::uint16_t cid, std::uint32_t cmd_sn);
  void go_on_with_read(Work& work);
  void finish(Work& work);
  std::uint32_t up_to(std::uint32_t most) { return 1 + static_cast<std::uint32_t>(random_() % most); }

  Peer& peer_;
  std::mt19937_64 random_;
  std::map<std::uint32_t, Work> work_;                              // by task tag
  std::map<std::uint16_t, std::deque<std::uint32_t>> unsolicited_;  // tags by connection, in the commands' order
  std::set<std::uint32_t> received_ahead_;                          // CmdSNs beyond exp_cmd_sn
  std::map<std::uint16_t, std::uint32_t> last_cmd_sn_;              // by connection
  std::set<std::uint32_t> over_;  // tags of what ended before its data was there: that may still be coming
  std::map<std::uint32_t, std::uint64_t> number_of_;  // of the job, by its last task tag
  std::map<std::uint16_t, std::deque<Pdu>> socket_;   // what was sent to it, and not read yet
  std::map<std::uint64_t, std::uint64_t> inside_;  // LUNs, by the job's number: what a lost session has left behind
  std::vector<std::function<void()>> later_;       // answers that wait
  std::uint32_t next_ttt_ = 1;
};

}  // namespace nbdgw::test
