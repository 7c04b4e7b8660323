#include "gateway/admin/fault_json.hpp"

#include <boost/json.hpp>

#include <doctest/doctest.h>

using namespace nbdgw;
using admin::parse_fault;
using iscsi_target::Fault;

namespace {

/// Of a good fault: what a posted one shows.
std::string shown(const std::string& text) {
  Fault fault;
  const auto error = parse_fault(text, fault);
  if (error) return "error: " + error->text;
  return boost::json::serialize(admin::to_json({.id = 1, .fault = fault}));
}

}  // namespace

TEST_CASE("fault json: every kind, with its defaults") {
  const std::string trigger = R"("probability":1E0,"seed":1,"skip":0,)";
  const std::string end = R"("hits":0,"active":true})";
  struct Case {
    const char* posted;
    std::string shown;
  };
  for (const Case& each : {
           Case{R"({"fault":"hang_task"})", R"("hang_task",)" + trigger + R"("executed":false,)"},
           Case{R"({"fault":"hang_lun","lun":2})", R"("hang_lun","lun":2,)" + trigger},
           Case{R"({"fault":"hang_tmf"})", R"("hang_tmf",)" + trigger},
           Case{R"({"fault":"hang_tmf","function":5})", R"("hang_tmf",)" + trigger + R"("function":5,)"},
           Case{R"({"fault":"refuse_tmf"})", R"("refuse_tmf",)" + trigger + R"("response":5,)"},
           Case{R"({"fault":"tmf_lies"})",
                R"("tmf_lies",)" + trigger + R"("response":1,"delay_ms":1000,"late_answer":false,)"},
           Case{R"({"fault":"delay","delay_ms":3})", R"("delay",)" + trigger + R"("delay_ms":3,)"},
           Case{R"({"fault":"drop_connection"})", R"("drop_connection","half_close":false,)"},
           Case{R"({"fault":"drop_connection","opcode":"write"})",
                R"("drop_connection","opcode":"write",)" + trigger + R"("half_close":false,)"},
           Case{R"({"fault":"busy"})", R"("busy",)" + trigger},
           Case{R"({"fault":"task_set_full"})", R"("task_set_full",)" + trigger},
           Case{R"({"fault":"unit_attention","asc":41,"ascq":0})",
                R"("unit_attention",)" + trigger + R"("asc":41,"ascq":0,)"},
           Case{R"({"fault":"check_condition","key":3,"asc":17,"ascq":0})",
                R"("check_condition",)" + trigger + R"("key":3,"asc":17,"ascq":0,)"},
           Case{R"({"fault":"digest_error","where":"data"})", R"("digest_error",)" + trigger + R"("where":"data",)"},
           Case{R"({"fault":"digest_error","where":"header"})",
                R"("digest_error",)" + trigger + R"("where":"header",)"},
           Case{R"({"fault":"reject"})", R"("reject",)" + trigger + R"("reason":4,"hole":false,)"},
           Case{R"({"fault":"async_event","event":1})",
                R"("async_event","event":1,"parameter1":0,"parameter2":0,"parameter3":0,)"},
           Case{R"({"fault":"freeze_window"})", R"("freeze_window",)"},
           Case{R"({"fault":"login_refuse","class":3,"detail":1})",
                R"("login_refuse",)" + trigger + R"("class":3,"detail":1,)"},
           Case{R"({"fault":"redirect","to":"[::1]:3260,1"})",
                R"("redirect",)" + trigger + R"("to":"[::1]:3260,1","permanent":false,)"},
           Case{R"({"fault":"power_loss"})", R"("power_loss","asc":41,"ascq":1,"drop":true,)"},
           Case{R"({"fault":"write_protect"})", R"("write_protect",)" + trigger},
           Case{R"({"fault":"thin_full"})", R"("thin_full",)" + trigger},
           Case{R"({"fault":"slow_write"})",
                R"("slow_write",)" + trigger + R"("after_loss":false,"reset_waits":true,)"},
           Case{R"({"fault":"slow_write","delay_ms":3,"reset_waits":false})",
                R"("slow_write",)" + trigger + R"("delay_ms":3,"after_loss":false,"reset_waits":false,)"},
           Case{R"({"fault":"late_data"})", R"("late_data",)" + trigger},
           Case{R"({"fault":"short_data","bytes":0})",
                R"("short_data",)" + trigger + R"("bytes":0,"good":false,"told":true,)"},
           Case{R"({"fault":"freeze_portal","portal":1})", R"("freeze_portal","portal":1,)"},
           Case{R"({"fault":"identity","serial":"X 1"})", R"("identity","serial":"X 1","asc":0,"ascq":0,)"},
           Case{R"({"fault":"refuse_vpd","page":131})", R"("refuse_vpd",)" + trigger + R"("page":131,)"},
           Case{R"({"fault":"write_same_16","lun":1})", R"("write_same_16","lun":1,)"},
           Case{R"({"fault":"capacity","lun":1,"blocks":9})", R"("capacity","lun":1,"blocks":9,"asc":0,"ascq":0,)"},
           Case{R"({"fault":"quiet_login"})", R"("quiet_login",)"},
       }) {
    CHECK(shown(each.posted) == R"({"id":1,"fault":)" + each.shown + end);
  }
  CHECK(iscsi_target::all_fault_traits().size() == 29);  // the kinds above
}

TEST_CASE("fault json: scopes and triggers") {
  Fault fault;
  REQUIRE_FALSE(parse_fault(R"({"fault":"busy","lun":16383,"cid":65535,"opcode":255,"count":4294967295,
      "probability":0.25,"seed":9223372036854775807,"skip":7})",
                            fault));
  CHECK(fault.lun == 16383);
  CHECK(fault.cid == 65535);
  CHECK(fault.opcode == 255);
  CHECK_FALSE(fault.group);
  CHECK(fault.count == 4294967295);
  CHECK(fault.probability == 0.25);
  CHECK(fault.seed == 9223372036854775807);
  CHECK(fault.skip == 7);
  CHECK(fault.has_trigger);
  for (const char* name : {"read", "write", "flush", "unmap", "write_same", "test_unit_ready"}) {
    REQUIRE_FALSE(parse_fault(std::string(R"({"fault":"busy","opcode":")") + name + "\"}", fault));
    REQUIRE(fault.group);
    CHECK(name_of(*fault.group) == name);
    CHECK_FALSE(fault.has_trigger);
  }
  // A trigger that is given makes a dropped connection wait for a command, whatever it says.
  REQUIRE_FALSE(parse_fault(R"({"fault":"drop_connection","cid":1})", fault));
  CHECK(fault.at_once());
  REQUIRE_FALSE(parse_fault(R"({"fault":"drop_connection","skip":0})", fault));
  CHECK_FALSE(fault.at_once());
}

TEST_CASE("fault json: what is wrong is said of the field that it is about") {
  struct Case {
    const char* text;
    const char* field;
  };
  const std::string deep = R"({"fault":)" + std::string(200, '[');
  for (const Case& each : {
           Case{"", ""},
           Case{"{", ""},
           Case{"[]", ""},
           Case{"null", ""},
           Case{"{\"fault\":\"busy\"} x", ""},
           Case{"{\"fault\":\"\xff\"}", ""},
           Case{deep.c_str(), ""},
           Case{"{}", "fault"},
           Case{R"({"fault":1})", "fault"},
           Case{R"({"fault":"bisy"})", "fault"},
           Case{R"({"fault":"busy","lung":1})", "lung"},
           Case{R"({"fault":"busy","id":1})", "id"},
           Case{R"({"fault":"busy","lun":16384})", "lun"},
           Case{R"({"fault":"busy","lun":-1})", "lun"},
           Case{R"({"fault":"busy","lun":1.0})", "lun"},
           Case{R"({"fault":"busy","lun":"1"})", "lun"},
           Case{R"({"fault":"busy","lun":null})", "lun"},
           Case{R"({"fault":"busy","cid":65536})", "cid"},
           Case{R"({"fault":"busy","opcode":256})", "opcode"},
           Case{R"({"fault":"busy","opcode":"reed"})", "opcode"},
           Case{R"({"fault":"busy","opcode":true})", "opcode"},
           Case{R"({"fault":"busy","count":0})", "count"},
           Case{R"({"fault":"busy","count":4294967296})", "count"},
           Case{R"({"fault":"busy","count":1e400})", "count"},
           Case{R"({"fault":"busy","probability":1.01})", "probability"},
           Case{R"({"fault":"busy","probability":-0.01})", "probability"},
           Case{R"({"fault":"busy","probability":"1"})", "probability"},
           Case{R"({"fault":"busy","seed":-1})", "seed"},
           Case{R"({"fault":"busy","seed":9223372036854775808})", "seed"},
           Case{R"({"fault":"busy","skip":0.5})", "skip"},
           Case{R"({"fault":"busy","delay_ms":1})", "delay_ms"},
           Case{R"({"fault":"hang_lun"})", "lun"},
           Case{R"({"fault":"hang_lun","lun":1,"opcode":"read"})", "opcode"},
           Case{R"({"fault":"hang_tmf","opcode":"read"})", "opcode"},
           Case{R"({"fault":"hang_tmf","function":0})", "function"},
           Case{R"({"fault":"hang_task","executed":1})", "executed"},
           Case{R"({"fault":"tmf_lies","response":2})", "response"},
           Case{R"({"fault":"refuse_tmf","response":256})", "response"},
           Case{R"({"fault":"delay"})", "delay_ms"},
           Case{R"({"fault":"slow_write","delay_ms":0})", "delay_ms"},
           Case{R"({"fault":"short_data"})", "bytes"},
           Case{R"({"fault":"freeze_portal","portal":0})", "portal"},
           Case{R"({"fault":"identity"})", "serial"},
           Case{R"({"fault":"identity","serial":""})", "serial"},
           Case{R"({"fault":"identity","serial":"012345678901234567890123456789012"})", "serial"},
           Case{R"({"fault":"identity","serial":"\n"})", "serial"},
           Case{R"({"fault":"refuse_vpd"})", "page"},
           Case{R"({"fault":"capacity"})", "blocks"},
           Case{R"({"fault":"capacity","blocks":0})", "blocks"},
           Case{R"({"fault":"delay","delay_ms":3600001})", "delay_ms"},
           Case{R"({"fault":"unit_attention","asc":41})", "ascq"},
           Case{R"({"fault":"check_condition","key":16,"asc":1,"ascq":1})", "key"},
           Case{R"({"fault":"digest_error"})", "where"},
           Case{R"({"fault":"digest_error","where":"trailer"})", "where"},
           Case{R"({"fault":"async_event","event":1,"count":1})", "count"},
           Case{R"({"fault":"async_event","event":1,"parameter2":65536})", "parameter2"},
           Case{R"({"fault":"freeze_window","lun":1})", "lun"},
           Case{R"({"fault":"login_refuse","class":0,"detail":0})", "class"},
           Case{R"({"fault":"redirect"})", "to"},
           Case{R"({"fault":"redirect","to":7})", "to"},
           Case{R"({"fault":"redirect","to":""})", "to"},
           Case{R"({"fault":"redirect","to":"a b:1"})", "to"},
           Case{R"({"fault":"redirect","to":"a:1,"})", "to"},
           Case{R"({"fault":"redirect","to":"a:1,x"})", "to"},
           Case{R"({"fault":"redirect","to":"a:1,123456"})", "to"},
           Case{R"({"fault":"redirect","to":"a:0"})", "to"},
           Case{R"({"fault":"power_loss","drop":"yes"})", "drop"},
           Case{R"({"fault":"power_loss","lun":1})", "lun"},
       }) {
    CAPTURE(each.text);
    Fault fault;
    const auto error = parse_fault(each.text, fault);
    REQUIRE(error);
    CHECK(error->field == each.field);
    CHECK(error->text.size() > 10);
    CHECK(error->text.size() < 500);
    if (*each.field != '\0') CHECK(error->text.starts_with(error->field + ": "));
  }
}
