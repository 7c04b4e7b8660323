// check_tmf_restrictions: the whole product of what it looks at, against the rows of the kernel's table.
#include <doctest/doctest.h>

#include <set>
#include <string>

#include "gateway/initiator/tmf.hpp"
#include "proto/iscsi/pdu.hpp"

using namespace nbdgw::initiator;
using namespace nbdgw::proto::iscsi;
using Function = TaskManagementFunction;

namespace {

enum class Is { any, same, other };  // as the function's LUN or referenced task
enum class Fast { any, yes, no };

struct Row {
  Function function;
  Opcode opcode;
  Is lun;
  Is itt;
  Fast fast_abort;
  bool may_send;
};

// What the kernel does (iscsi_check_tmf_restrictions), and the functions that it does not use like its resets. What
// no row names may be sent.
const Row kRows[] = {
    {Function::logical_unit_reset, Opcode::scsi_command, Is::same, Is::any, Fast::any, false},
    {Function::logical_unit_reset, Opcode::data_out, Is::same, Is::any, Fast::yes, false},
    {Function::logical_unit_reset, Opcode::data_out, Is::same, Is::any, Fast::no, true},
    {Function::logical_unit_reset, Opcode::scsi_command, Is::other, Is::any, Fast::any, true},
    {Function::logical_unit_reset, Opcode::data_out, Is::other, Is::any, Fast::any, true},
    {Function::abort_task_set, Opcode::scsi_command, Is::same, Is::any, Fast::any, false},
    {Function::abort_task_set, Opcode::data_out, Is::same, Is::any, Fast::yes, false},
    {Function::clear_task_set, Opcode::scsi_command, Is::same, Is::any, Fast::any, false},
    {Function::clear_task_set, Opcode::data_out, Is::same, Is::any, Fast::yes, false},
    {Function::target_warm_reset, Opcode::scsi_command, Is::any, Is::any, Fast::any, false},
    {Function::target_warm_reset, Opcode::data_out, Is::any, Is::any, Fast::yes, false},
    {Function::target_warm_reset, Opcode::data_out, Is::any, Is::any, Fast::no, true},
    {Function::target_cold_reset, Opcode::scsi_command, Is::any, Is::any, Fast::any, false},
    {Function::target_cold_reset, Opcode::data_out, Is::any, Is::any, Fast::yes, false},
    {Function::abort_task, Opcode::data_out, Is::any, Is::same, Fast::any, false},
};

bool matches(Is wanted, bool same) {
  return wanted == Is::any || (wanted == Is::same) == same;
}

bool expected(TmfState state, Function function, Opcode opcode, bool same_lun, bool same_itt, bool fast_abort) {
  if (state == TmfState::initial) return true;
  for (const Row& row : kRows) {
    if (row.function != function || row.opcode != opcode) continue;
    if (!matches(row.lun, same_lun) || !matches(row.itt, same_itt)) continue;
    if (row.fast_abort != Fast::any && (row.fast_abort == Fast::yes) != fast_abort) continue;
    return row.may_send;
  }
  return true;
}

}  // namespace

TEST_CASE("restrictions: every state, function, opcode, LUN, tag and fast_abort") {
  int checked = 0;
  int withheld = 0;
  for (const auto state : {TmfState::initial, TmfState::queued, TmfState::success, TmfState::failed,
                           TmfState::timedout, TmfState::not_found}) {
    for (int function = 1; function <= 8; ++function) {
      for (const auto opcode : {Opcode::scsi_command, Opcode::data_out}) {
        for (const bool same_lun : {true, false}) {
          for (const bool same_itt : {true, false}) {
            for (const bool fast_abort : {true, false}) {
              const std::string name = to_string(state);
              CAPTURE(name);
              CAPTURE(function);
              const int code = static_cast<int>(opcode);
              CAPTURE(code);
              CAPTURE(same_lun);
              CAPTURE(same_itt);
              CAPTURE(fast_abort);
              TaskManagement tmf;
              tmf.state = state;
              tmf.function = static_cast<Function>(function);
              tmf.lun = 0x0001000000000000;
              if (tmf.function == Function::abort_task) tmf.referenced_itt = 0x2005;
              const bool may =
                  check_tmf_restrictions(tmf, fast_abort, opcode, same_lun ? tmf.lun : 0x0002000000000000,
                                         same_itt ? tmf.referenced_itt : 0x2006);
              CHECK(may == expected(state, tmf.function, opcode, same_lun, same_itt, fast_abort));
              ++checked;
              if (!may) ++withheld;
            }
          }
        }
      }
    }
  }
  CHECK(checked == 6 * 8 * 2 * 2 * 2 * 2);
  // In each of five states: of the LUN 4 commands + 2 data, of the target 8 + 4, abort 4.
  CHECK(withheld == 5 * (3 * 6 + 2 * 12 + 4));
}

TEST_CASE("restrictions: LUN 0 is a LUN like any other, and a task without a tag is nobody's") {
  TaskManagement tmf;
  tmf.state = TmfState::queued;
  tmf.function = Function::logical_unit_reset;
  tmf.lun = 0;
  CHECK_FALSE(check_tmf_restrictions(tmf, true, Opcode::scsi_command, 0, kReservedTag));
  CHECK(check_tmf_restrictions(tmf, true, Opcode::scsi_command, 1, kReservedTag));
  tmf.function = Function::abort_task;
  tmf.referenced_itt = 7;
  CHECK(check_tmf_restrictions(tmf, true, Opcode::scsi_command, 0, kReservedTag));
}

TEST_CASE("restrictions: the states have names of their own") {
  std::set<std::string> names;
  for (int state = 0; state <= static_cast<int>(TmfState::not_found); ++state) {
    names.insert(to_string(static_cast<TmfState>(state)));
  }
  CHECK(names == std::set<std::string>{"initial", "queued", "success", "failed", "timedout", "not_found"});
}
