#include "tests/sim/target/protocol_checker.hpp"

#include <algorithm>

#include "tests/sim/target/array.hpp"

namespace nbdgw::sim {
namespace {

std::string number(std::uint32_t value) {
  return std::to_string(value);
}

}  // namespace

void ProtocolChecker::complain(const TargetConnection& connection, const std::string& what) {
  complain(connection.name() + ": " + what);
}

void ProtocolChecker::complain(const std::string& what) {
  if (complaints_ != nullptr) complaints_->on_violation(what);
}

void ProtocolChecker::on_request(TargetConnection& connection, const pdu::Request& request) {
  check_lengths(connection, request);
  check_stat_sn(connection, request);
  if (request.opcode() != pdu::kDataOut && request.opcode() != pdu::kSnack) check_cmd_sn(connection, request);
}

void ProtocolChecker::check_lengths(TargetConnection& connection, const pdu::Request& request) {
  if (!request.ahs.empty()) {
    // The only one that an initiator may have a reason for is the rest of a long CDB.
    const std::size_t length = be16(request.ahs.data());
    const bool long_cdb =
        request.opcode() == pdu::kScsiCommand && request.ahs[2] == 1 && padded(length + 3) == request.ahs.size();
    if (!long_cdb) complain(connection, "an additional header segment that makes no sense");
  }
  const bool has_data = request.opcode() == pdu::kScsiCommand || request.opcode() == pdu::kDataOut ||
                        request.opcode() == pdu::kNopOut || request.opcode() == pdu::kText;
  if (!has_data && !request.data.empty()) {
    complain(connection, "data with opcode " + number(request.opcode()));
  }
  const bool may_go_on =
      request.opcode() == pdu::kScsiCommand || request.opcode() == pdu::kDataOut || request.opcode() == pdu::kText;
  if (!may_go_on && !request.final()) complain(connection, "opcode " + number(request.opcode()) + " without F");
}

void ProtocolChecker::check_stat_sn(TargetConnection& connection, const pdu::Request& request) {
  SequenceWatch& watch = connection.watch();
  const std::uint32_t exp_stat_sn = request.exp_stat_sn();
  if (comes_before(connection.next_stat_sn(), exp_stat_sn)) {
    complain(connection, "ExpStatSN " + number(exp_stat_sn) + ", but StatSN has only come to " +
                             number(connection.next_stat_sn() - 1));
  }
  // What has waited behind a hole is not new.
  if (watch.acknowledges && comes_before(exp_stat_sn, watch.exp_stat_sn)) {
    complain(connection, "ExpStatSN goes back from " + number(watch.exp_stat_sn) + " to " + number(exp_stat_sn));
  }
  watch.acknowledges = true;
  watch.exp_stat_sn = exp_stat_sn;
}

void ProtocolChecker::check_cmd_sn(TargetConnection& connection, const pdu::Request& request) {
  SequenceWatch& watch = connection.watch();
  const TargetSession& session = *connection.session();
  const std::uint32_t cmd_sn = request.cmd_sn();
  if (watch.counts && comes_before(cmd_sn, watch.least_cmd_sn)) {
    complain(connection, "CmdSN " + number(cmd_sn) + " behind one that is larger on the same connection");
  }
  watch.counts = true;
  watch.least_cmd_sn = request.immediate() ? cmd_sn : cmd_sn + 1;
  // What is immediate has the number of the next command, and that may be the first one outside of the window.
  const std::uint32_t most = session.max_cmd_sn() + (request.immediate() ? 1 : 0);
  if (comes_before(most, cmd_sn)) {
    complain(connection,
             "CmdSN " + number(cmd_sn) + " is outside of the window, which ends at " + number(session.max_cmd_sn()));
  }
  if (request.immediate()) return;
  if (comes_before(cmd_sn, session.exp_cmd_sn()) || session.has_parked(cmd_sn)) {
    complain(connection, "CmdSN " + number(cmd_sn) + " is used again");
  }
}

void ProtocolChecker::on_command(TargetConnection& connection, const pdu::Request& request) {
  const TargetSession& session = *connection.session();
  const SessionTerms& terms = session.terms();
  const std::uint32_t itt = request.itt();
  const bool reads = (request.bhs[1] & 0x40) != 0;
  const bool writes = (request.bhs[1] & 0x20) != 0;
  const std::uint32_t expected = be32(request.bhs + 20);
  const auto wrong = [&](const char* what) {
    complain(connection, "the command with CmdSN " + number(request.cmd_sn()) + " " + what);
  };
  if (itt == pdu::kNoTag) wrong("has the reserved tag");
  if (session.find(itt) != nullptr) wrong("has the tag of one that is not over");
  if (reads && writes) wrong("reads and writes");
  if (!reads && !writes && expected != 0) wrong("moves nothing, but expects to");
  if (!request.data.empty()) {
    if (!writes) wrong("does not write, but has data");
    if (!terms.immediate_data) wrong("has immediate data, which was negotiated away");
  }
  const std::size_t burst = std::min(terms.first_burst, expected);
  if (request.data.size() > burst) wrong("has more immediate data than a first burst");
  if (request.final()) return;
  if (!writes || terms.initial_r2t) wrong("announces unsolicited data, which it may not");
  if (request.data.size() >= burst) wrong("announces unsolicited data that there cannot be");
}

bool ProtocolChecker::on_data_out(TargetConnection& connection, const TargetCommand& command,
                                  const pdu::Request& request) {
  const std::uint32_t data_sn = be32(request.bhs + 36);
  const std::uint32_t offset = be32(request.bhs + 40);
  const std::size_t length = request.data.size();
  std::string wrong;
  if (command.connection != &connection) wrong = "comes over another connection than its command";
  if (command.lun != request.lun()) wrong = "has another LUN than its command";
  if (length == 0) wrong = "is empty";
  if (request.ttt() == pdu::kNoTag) {
    const SessionTerms& terms = connection.session()->terms();
    const std::size_t burst = std::min(terms.first_burst, command.expected);
    const std::size_t end = command.data.size() + length;
    for (const TargetCommand* other = command.before; other != nullptr; other = other->before) {
      if (other->connection == &connection && other->unsolicited) wrong = "overtakes that of an earlier command";
    }
    if (!command.unsolicited) wrong = "was not announced, or is behind its last part";
    if (offset != command.data.size()) wrong = "does not go on where the last part ended";
    if (data_sn != command.unsolicited_sn) wrong = "has a wrong DataSN";
    if (end > burst) wrong = "goes beyond the first burst";
    if (request.final() != (end == burst)) wrong = "ends before the first burst does, or not with it";
  } else if (command.r2t_count == 0 || command.r2ts[0].ttt != request.ttt()) {
    wrong = "was not asked for, or not yet";
  } else {
    const OpenR2t& r2t = command.r2ts[0];
    const std::size_t end = r2t.received + length;
    if (offset != r2t.offset + r2t.received) wrong = "does not go on where the last part ended";
    if (data_sn != r2t.data_sn) wrong = "has a wrong DataSN";
    if (end > r2t.length) wrong = "is more than was asked for";
    if (request.final() != (end == r2t.length)) wrong = "ends before all was sent, or not with it";
  }
  if (wrong.empty()) return true;
  complain(connection, "data for the command with CmdSN " + number(command.origin.cmd_sn) + ", offset " +
                           number(offset) + ", " + std::to_string(length) + " bytes, " + wrong);
  return false;
}

void ProtocolChecker::on_function(TargetConnection& connection, const pdu::Request& request,
                                  const TargetCommand* referenced, const CommandRecord* record) {
  const std::uint8_t code = request.bhs[1] & 0x7f;
  const bool known = code == pdu::kAbortTask || code == pdu::kAbortTaskSet ||
                     (code >= pdu::kClearTaskSet && code <= pdu::kColdReset);
  const std::string which = "task management function " + number(code);
  if (!known) complain(connection, which);
  if (connection.session()->functions_out > 0) complain(connection, which + " while another one is under way");
  const std::uint32_t tag = request.ttt();
  const std::uint32_t referenced_sn = be32(request.bhs + 32);
  if (code != pdu::kAbortTask) {
    if (tag != pdu::kNoTag) complain(connection, which + " refers to a task");
    return;
  }
  if (referenced != nullptr) {
    if (referenced->connection != &connection) complain(connection, which + " for a task of another connection");
    if (referenced->origin.cmd_sn != referenced_sn) complain(connection, which + " with a wrong RefCmdSN");
    if (referenced->lun != request.lun()) complain(connection, which + " with another LUN than its task's");
  } else if ((record == nullptr || record->itt != tag) && !connection.remembers(tag)) {
    // A command that was rejected, which may not be known there yet, has no record.
    complain(connection, which + " for a task that there never was");
  }
}

void ProtocolChecker::on_logout(TargetConnection& connection, const pdu::Request& request) {
  const std::uint8_t reason = request.bhs[1] & 0x7f;
  if (reason > 2) complain(connection, "a logout for the reason " + number(reason));
}

}  // namespace nbdgw::sim
