// What `nbdgw ctl` makes of the answers of the admin API.
#include "gateway/app/ctl_text.hpp"

#include <boost/json.hpp>
#include <string>

#include <doctest/doctest.h>

#include "gateway/app/ctl_client.hpp"

using namespace nbdgw::app;
namespace json = boost::json;

TEST_CASE("table: columns as wide as they need to be, numbers to the right, no space at the ends") {
  Table table({"NAME", ">COUNT", "STATE"});
  CHECK(table.empty());
  table.add({"a", "1", "x"});
  table.add({"longer", "12345678", ""});
  table.add({"Größe", "2"});
  CHECK(table.text() ==
        "NAME       COUNT  STATE\n"
        "a              1  x\n"
        "longer  12345678\n"
        "Größe          2\n");
}

TEST_CASE("numbers for people") {
  CHECK(human_bytes(0) == "0 B");
  CHECK(human_bytes(1023) == "1023 B");
  CHECK(human_bytes(1024) == "1.0 KiB");
  CHECK(human_bytes(1.5 * (1 << 30)) == "1.5 GiB");
  CHECK(human_bytes(2e30).ends_with(" EiB"));
  CHECK(human_seconds(0) == "0 s");
  CHECK(human_seconds(0.00025) == "250 us");
  CHECK(human_seconds(0.0015) == "1.5 ms");
  CHECK(human_seconds(12) == "12.0 s");
  CHECK(human_seconds(180) == "3 min");
  CHECK(human_seconds(7200) == "2 h");
  CHECK(human_seconds(432000) == "5 d");
}

TEST_CASE("nothing in an answer steers the terminal, and nothing that is missing stops us") {
  const json::value evil{{"events", "no list"}};
  CHECK(exports_text(evil).starts_with("EXPORT"));
  const json::value event{{"kind", "rung"}, {"cause", "\x1b[2Jbye\n"}, {"target", "t"}};
  const std::string text = event_text(event);
  CHECK(text.find('\x1b') == std::string::npos);
  CHECK(text.find('\n') == std::string::npos);
  CHECK(text.find("\\x1b[2Jbye") != std::string::npos);
  for (const json::value& nonsense : {json::value(), json::value(1), json::value("x"), json::value(json::array())}) {
    CHECK_FALSE(status_text(nonsense).empty());
    CHECK_FALSE(export_text(nonsense).empty());
    CHECK_FALSE(session_text(nonsense).empty());
    CHECK_FALSE(tasks_text(nonsense).empty());
    CHECK_FALSE(clients_text(nonsense).empty());
    CHECK_FALSE(operations_text(nonsense).empty());
    CHECK(reload_text(nonsense) == "nothing has changed\n");
    CHECK_FALSE(problem_text(nonsense, 500).empty());
  }
}

TEST_CASE("a session: connections that are up, and what climbs now") {
  const json::value session = json::parse(R"({"target": "array", "state": "logged in", "connections_wanted": 3,
      "connections": [{"cid": 0, "state": "started"}, {"cid": 1, "state": "connecting"}],
      "climb": {"rung": "abort_task", "cause": "a command is overdue", "age_seconds": 0.5}})");
  const std::string list = sessions_text(json::object{{"sessions", json::array{session}}});
  CHECK(list.find("1/3") != std::string::npos);
  CHECK(list.find("abort_task for 500.0 ms: a command is overdue") != std::string::npos);
}

TEST_CASE("events: what has failed, and states, with what there is of each") {
  const auto has = [](const json::value& event, const char* text) {
    INFO(event_text(event));
    return event_text(event).find(text) != std::string::npos;
  };
  json::value failed = json::parse(R"json({"kind": "request_failed", "target": "array", "export": "vol0", "lun": 1,
      "request": "read", "error": "NBD_EIO", "cause": "MEDIUM ERROR", "offset": 512, "length_bytes": 4096, "lba": 1,
      "opcode": "READ(16)", "blocks": 8, "tries": 1, "count": 1})json");
  CHECK(has(failed,
            "array LUN 1  export vol0: read failed with NBD_EIO, 4096 bytes at 512, LBA 1, READ(16) of 8 block(s), "
            "sent once: MEDIUM ERROR"));
  failed.as_object()["duration_seconds"] = 10.0;
  failed.as_object()["count"] = 19;
  CHECK(has(failed, "read failed 19 more time(s) in 10.0 s with NBD_EIO, the latest 4096 bytes"));
  CHECK(has(json::parse(R"({"kind": "session_lost", "target": "array", "text": "session lost: x"})"),
            "array  session_lost: session lost: x"));
  CHECK(has(json::parse(R"({"kind": "rung_begun", "target": "array", "lun": 1, "text": "is aborting a task",
      "cause": "y"})"),
            "array LUN 1  is aborting a task: y"));
  CHECK(has(json::parse(R"({"kind": "hold_expired", "target": "array", "export": "vol0", "requests": 3,
      "duration_seconds": 120, "cause": "z"})"),
            "requests fail, 3 that were held, too, after 2 min without a path: z"));
}

TEST_CASE("down since: of a session and of an export") {
  const json::value session = json::parse(R"({"target": "array", "state": "logging in", "age_seconds": 75.0})");
  CHECK(sessions_text(json::object{{"sessions", json::array{session}}}).find("down  75.0 s") != std::string::npos);
  const json::value exported = json::parse(R"({"name": "vol0", "state": "offline", "down_seconds": 75.0})");
  CHECK(export_text(exported).find("down for        75.0 s") != std::string::npos);
}

TEST_CASE("a reload: what is done, what would be, and what needs a restart") {
  json::value report = json::parse(R"({"dry_run": false, "changes": [{"kind": "added", "object": "export vol1",
      "detail": "target array, LUN 2"}], "needs_restart": ["listen.nbd"]})");
  CHECK(reload_text(report) == "added export vol1: target array, LUN 2\nneeds a restart: listen.nbd\n");
  report.as_object()["dry_run"] = true;
  CHECK(reload_text(report).starts_with("would be added export vol1"));
}

TEST_CASE("a problem: all that is wrong with a configuration, with its place") {
  const json::value problem =
      json::parse(R"({"status": 422, "detail": "the file is wrong", "code": "bad_configuration",
      "errors": [{"file": "a.yaml", "line": 3, "column": 7, "key": "listen", "text": "unknown key"}]})");
  CHECK(problem_text(problem, 422) == "422: the file is wrong (bad_configuration)\na.yaml:3:7: listen: unknown key");
}

TEST_CASE("names in paths are percent-encoded") {
  CHECK(percent_encode("vol0-A_b.c~") == "vol0-A_b.c~");
  CHECK(percent_encode("a/b c?") == "a%2Fb%20c%3F");
  CHECK(percent_encode("\xc3\xa4") == "%C3%A4");
}
