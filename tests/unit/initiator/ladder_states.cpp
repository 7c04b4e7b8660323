// Every event on every rung of the ladder: each cell is decided, and whatever happens the session converges and
// everybody gets his commands back.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "tests/unit/initiator/ladder.hpp"
#include "tests/unit/initiator/model_target.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kSecond;
using Function = TaskManagementFunction;
using Result = TaskManagementResult;

namespace {

/// A command on a rung. On connection 0 it is the write `job`, overdue; on connection 1 there are `sibling`, a read
/// of the same LUN, and `other`, a command of another LUN.
struct Rig : LadderPeer {
  Rig() : LadderPeer(asking_settings(2), TargetKeys().solicited_only()) {
    job = &queue(Direction::write, 100'000);
    itt = take_command(*job, 0);
    sibling = &queue(Direction::read, 100'000);
    sibling_itt = take_command(*sibling, 1);
    other = &queue(Direction::none, 0, kLun2);
    other_cid = busy();
    other_itt = take_command(*other, other_cid);
    acknowledge(1);
    acknowledge(0);
  }
  /// Only the write becomes overdue.
  void only_job_overdue() {
    advance(kCommandTimeout - kSecond);
    deliver(1, data_in(1, sibling_itt, 0, 0, Bytes(10), false));
    Job& last = queue(Direction::none, 0, kLun2);
    const std::uint16_t cid = busy();
    respond(other_cid, other_itt);
    other = &last;
    other_cid = cid;
    other_itt = take_command(last, cid);
    acknowledge(0);
    advance(kSecond);
    advance(kPingTimeout);
    REQUIRE(job->overdue);
    REQUIRE_FALSE(sibling->overdue);
    REQUIRE_FALSE(other->overdue);
    told();
  }
  void climb(Rung rung) {
    only_job_overdue();
    request = climb_to(rung);
    told();
  }
  void ask(const RecoveryRequest& by_hand) {
    if (session.request_recovery(by_hand)) ids.push_back(by_hand.id);
  }
  /// Answers the function under way; one that has not been sent, or was answered, gets an answer all the same.
  Pdu answer_pdu(Result result) {
    return make_pdu(TaskManagementResponse{
        .response = result, .itt = request ? request->itt : 0x1000, .sequence = status_sequence(0)});
  }

  Job* job = nullptr;
  Job* sibling = nullptr;
  Job* other = nullptr;
  std::uint32_t itt = 0;
  std::uint32_t sibling_itt = 0;
  std::uint32_t other_itt = 0;
  std::uint16_t other_cid = 0;
  std::optional<TaskManagementRequest> request;
  std::vector<std::uint32_t> ids;  // of rungs asked for by hand
};

struct Event {
  const char* name;
  std::function<void(Rig&)> happen;
};

const Event kEvents[] = {
    {"complete", [](Rig& s) { s.deliver(0, s.answer_pdu(Result::complete)); }},
    {"does not exist", [](Rig& s) { s.deliver(0, s.answer_pdu(Result::task_does_not_exist)); }},
    {"refused", [](Rig& s) { s.deliver(0, s.answer_pdu(Result::not_supported)); }},
    {"rejected",
     [](Rig& s) {
       TaskManagementRequest request{.itt = 0x1000};
       if (s.request) request = *s.request;
       s.reject(make_pdu(request), RejectReason::command_not_supported);
     }},
    {"wrong connection",
     [](Rig& s) {
       auto answer = s.answer_pdu(Result::complete).as<TaskManagementResponse>();
       answer.sequence = s.status_sequence(1);
       s.deliver(1, make_pdu(answer));
     }},
    {"time passes", [](Rig& s) { s.advance(kTargetResetTimeout); }},
    {"disconnect 0", [](Rig& s) { s.disconnect(0); }},
    {"disconnect 1", [](Rig& s) { s.disconnect(1); }},
    {"command ends", [](Rig& s) { s.respond(0, s.itt, 8); }},
    {"R2T", [](Rig& s) { s.deliver(0, s.r2t(0, s.itt, 0, 0, 1000, 5)); }},
    {"sibling ends", [](Rig& s) { s.respond(1, s.sibling_itt, 8); }},
    {"command rejected",
     [](Rig& s) { s.reject(make_pdu(ScsiCommandPdu{.itt = s.itt}), RejectReason::protocol_error); }},
    {"teardown", [](Rig& s) { s.session.teardown(s.now); }},
    {"asked to log out", [](Rig& s) { s.deliver(0, s.async_message(0, AsyncEvent::logout_request)); }},
    {"asked to drop", [](Rig& s) { s.deliver(0, s.async_message(0, AsyncEvent::drop_all_connections)); }},
    {"abort by hand", [](Rig& s) { s.ask({.id = 50, .rung = Rung::abort_task, .itt = s.itt}); }},
    {"LU reset by hand", [](Rig& s) { s.ask({.id = 50, .rung = Rung::lu_reset, .lun = kLun1}); }},
    {"session reset by hand", [](Rig& s) { s.ask({.id = 50, .rung = Rung::session_reset}); }},
    {"queue", [](Rig& s) { s.queue(Direction::none, 0); }},
    {"nothing", [](Rig&) {}},
};

constexpr std::size_t kEventCount = std::size(kEvents);

/// The outcome of a cell, in four letters:
///   the session: L logged in, X failed or logging in again, O logging out, T terminated
///   the function that leaves because of it: - none, A abort, U LU reset, W warm reset, S abort task set
///   the command: p pending, c completed, a aborted, d disrupted, b bad target, l path lost. After a loss it is held
///   until the next login, for it writes
///   its sibling, in the same letters
std::string outcome(Rig& rig) {
  rig.pump();
  std::string out;
  switch (rig.session.state()) {
    case SessionState::logged_in:
      out = "L";
      break;
    case SessionState::logging_out:
      out = "O";
      break;
    case SessionState::terminated:
      out = "T";
      break;
    default:
      out = "X";
  }
  char function = '-';
  for (const std::uint16_t cid : kBothConnections) {
    for (const Pdu& pdu : rig.wire(cid).inbox) {
      if (pdu.opcode() != Opcode::task_management_request) continue;
      CHECK(function == '-');
      function = "?AS??UW"[static_cast<std::size_t>(pdu.as<TaskManagementRequest>().function)];
    }
  }
  out += function;
  for (const Job* job : {rig.job, rig.sibling}) {
    constexpr std::array letters{'p', 'c', 'd', 'a', 'b', 'l'};
    out += letters.at(static_cast<std::size_t>(job->outcome));
  }
  return out;
}

struct Row {
  const char* name;
  std::function<void(Rig&)> arrange;
  std::array<const char*, kEventCount> after;
};

const Row kRows[] = {
    {"no rung", [](Rig&) {}, {"X-pd", "X-pd", "X-pd", "X-pd", "X-pd", "L-pp", "X-pd", "X-pd", "L-cp", "L-pp",
                              "L-pc", "L-bp", "O-pp", "O-pp", "X-pd", "LApp", "LUpp", "X-pd", "L-pp", "L-pp"}},
    {"abort, without room",
     [](Rig& s) {
       s.block(0);
       s.only_job_overdue();
     },
     {"X-pd", "X-pd", "X-pd", "X-pd", "X-pd", "X-pd", "X-pd", "X-pd", "L-cp", "L-pp",
      "L-pc", "L-bp", "O-pp", "O-pp", "X-pd", "L-pp", "L-pp", "L-pp", "L-pp", "L-pp"}},
    {"abort", [](Rig& s) { s.climb(Rung::abort_task); }, {"L-ap", "LUpp", "LUpp", "LUpp", "X-pd", "X-pd", "X-pd",
                                                          "X-pd", "L-cp", "L-pp", "L-pc", "L-bp", "O-pp", "O-pp",
                                                          "X-pd", "L-pp", "L-pp", "L-pp", "L-pp", "L-pp"}},
    {"abort, another asked for by hand",
     [](Rig& s) {
       s.climb(Rung::abort_task);
       s.ask({.id = 40, .rung = Rung::lu_reset, .lun = kLun1});
     },
     {"LUap", "LUpp", "LUpp", "LUpp", "X-pd", "X-pd", "X-pd", "X-pd", "L-cp", "L-pp",
      "L-pc", "L-bp", "O-pp", "O-pp", "X-pd", "L-pp", "L-pp", "L-pp", "L-pp", "L-pp"}},
    {"LU reset, held back",
     [](Rig& s) {
       s.climb(Rung::abort_task);
       // Over each connection a command is on its way, of which nothing is known yet.
       for (const std::uint16_t cid : kBothConnections) {
         s.queue(Direction::read, 1000);
         REQUIRE(s.take(cid, Opcode::scsi_command).as<ScsiCommandPdu>().lun == kLun1);
       }
       s.answers_pings = false;
       s.answer(*s.request, Result::rejected);
       s.request.reset();
       s.told();
     },
     {"X-pd", "X-pd", "X-pd", "X-pd", "X-pd", "X-pd", "X-pd", "X-pd", "L-cp", "L-pp",
      "L-pc", "L-bp", "O-pp", "O-pp", "X-pd", "L-pp", "L-pp", "L-pp", "L-pp", "L-pp"}},
    {"LU reset", [](Rig& s) { s.climb(Rung::lu_reset); }, {"L-aa", "LWpp", "LWpp", "LWpp", "X-pd", "X-pd", "X-pd",
                                                           "X-pd", "L-cp", "L-pp", "L-pc", "L-bp", "O-pp", "O-pp",
                                                           "X-pd", "L-pp", "L-pp", "L-pp", "L-pp", "L-pp"}},
    {"target reset",
     [](Rig& s) { s.climb(Rung::target_warm_reset); },
     {"L-aa", "X-pd", "X-pd", "X-pd", "X-pd", "X-pd", "X-pd", "X-pd", "L-cp", "L-pp",
      "L-pc", "L-bp", "O-pp", "O-pp", "X-pd", "L-pp", "L-pp", "L-pp", "L-pp", "L-pp"}},
    {"abort task set, by hand",
     [](Rig& s) {
       s.ask({.id = 40, .rung = Rung::abort_task_set, .lun = kLun1});
       s.request = s.tmf(Function::abort_task_set);
     },
     {"L-aa", "L-pp", "L-pp", "L-pp", "X-pd", "X-pd", "X-pd", "X-pd", "L-cp", "L-pp",
      "L-pc", "L-bp", "O-pp", "O-pp", "X-pd", "L-pp", "L-pp", "L-pp", "L-pp", "L-pp"}},
};

/// From now on there is a target by the book, which knows nothing of what was sent before but for the logins, the
/// logouts and the functions.
void converge(Rig& rig, bool ends) {
  rig.jobs.retry = true;
  ModelTarget target(rig, 5);
  target.window = 64;
  target.immediate_data = false;
  target.initial_r2t = true;
  rig.keys = target.keys(2);
  for (const std::uint32_t itt : {rig.itt, rig.sibling_itt, rig.other_itt}) target.ignore(itt);
  rig.exp_cmd_sn = rig.next_cmd_sn;
  for (const std::uint16_t cid : kBothConnections) {
    for (const Pdu& pdu : std::exchange(rig.wire(cid).inbox, {})) {
      if (pdu.opcode() == Opcode::scsi_command || pdu.opcode() == Opcode::data_out) continue;
      if (rig.wire(cid).open) rig.on_pdu(cid, pdu);
    }
    rig.wire(cid).takes = true;
  }
  if (rig.session.counters().losses == 0) {
    for (const auto& [cid, ping] : rig.unanswered_pings) rig.on_pdu(cid, ping);
  }
  for (int i = 0; i < 80; ++i) {
    target.run();
    rig.advance(kSecond);
  }
  if (ends) {
    CHECK(rig.session.state() == SessionState::terminated);
  } else {
    REQUIRE(rig.session.state() == SessionState::logged_in);
    Job& job = rig.jobs.write(30'000);
    target.run();
    CHECK(job.outcome == Outcome::completed);
    CHECK(rig.connection(1).state() == ConnectionState::started);
  }
  rig.check_nothing_leaked();
  for (const std::uint32_t id : rig.ids) {
    CHECK(rig.told_of(id) == static_cast<std::size_t>(std::count(rig.ids.begin(), rig.ids.end(), id)));
  }
}

bool is_teardown(std::size_t event) {
  return std::string(kEvents[event].name) == "teardown";
}

}  // namespace

TEST_CASE("ladder states: every event on every rung has its outcome, and the session converges") {
  for (const Row& row : kRows) {
    for (std::size_t event = 0; event < kEventCount; ++event) {
      const std::string rung = row.name;
      const std::string name = kEvents[event].name;
      CAPTURE(rung);
      CAPTURE(name);
      Rig rig;
      row.arrange(rig);
      REQUIRE(rig.session.state() == SessionState::logged_in);
      kEvents[event].happen(rig);
      CHECK(outcome(rig) == row.after[event]);
      converge(rig, is_teardown(event));
    }
  }
}

TEST_CASE("ladder states: two events in a row, each pair on every rung") {
  for (const Row& row : kRows) {
    for (std::size_t first = 0; first < kEventCount; ++first) {
      for (std::size_t second = 0; second < kEventCount; ++second) {
        const std::string rung = row.name;
        const std::string one = kEvents[first].name;
        const std::string two = kEvents[second].name;
        CAPTURE(rung);
        CAPTURE(one);
        CAPTURE(two);
        Rig rig;
        row.arrange(rig);
        kEvents[first].happen(rig);
        kEvents[second].happen(rig);
        converge(rig, is_teardown(first) || is_teardown(second));
      }
    }
  }
}
