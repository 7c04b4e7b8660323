#include "gateway/net/log_fold.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "gateway/net/log_strangers.hpp"

using namespace nbdgw;
using net::log::Level;
using proto::kSecond;

namespace {

/// A folder, and all the lines that have come out of it.
struct Rig {
  bool take(const char* kind, const net::log::Subject& subject, const std::string& text, std::uint32_t at_once = 1) {
    const bool now_too = folder.take({kind, at_once}, subject, Level::warn, text, now, due);
    if (now_too) lines.push_back(text);
    collect();
    return now_too;
  }
  void later(proto::Micros time) {
    now += time;
    folder.tell_due(now, due);
    collect();
  }
  void collect() {
    for (const net::log::Told& each : due) lines.push_back(each.text);
    due.clear();
  }

  net::log::Folder folder;
  proto::Micros now = 1000 * kSecond;
  std::vector<net::log::Told> due;
  std::vector<std::string> lines;
};

const net::log::Subject kArray{.target = "array"};
const net::log::Subject kOther{.target = "other"};

}  // namespace

TEST_CASE("fold: the first at once, then a count a minute behind it, with the latest text") {
  Rig rig;
  CHECK(rig.take("refused", kArray, "refused 1"));
  for (int i = 2; i <= 7; ++i) CHECK_FALSE(rig.take("refused", kArray, fmt::format("refused {}", i)));
  rig.later(59 * kSecond);
  CHECK(rig.lines == std::vector<std::string>{"refused 1"});
  rig.later(kSecond);
  CHECK(rig.lines.back() == "refused 7 (6 times more in 60 s)");
  rig.take("refused", kArray, "refused 8");  // goes on: no line of its own
  rig.later(61 * kSecond);
  CHECK(rig.lines.size() == 3);
  CHECK(rig.lines.back() == "refused 8 (once more in 61 s)");
}

TEST_CASE("fold: what has not happened for a minute is new") {
  Rig rig;
  CHECK(rig.take("refused", kArray, "refused"));
  rig.later(61 * kSecond);
  CHECK(rig.folder.size() == 0);
  CHECK(rig.take("refused", kArray, "refused"));
  CHECK_FALSE(rig.take("refused", kArray, "refused"));
  rig.now += 70 * kSecond;  // nobody has looked meanwhile: the next one tells
  CHECK_FALSE(rig.take("refused", kArray, "refused again"));
  CHECK(rig.lines.back() == "refused again (2 times more in 70 s)");
}

TEST_CASE("fold: kinds that take turns do not tell each other again, nor do subjects") {
  Rig rig;
  for (int minute = 0; minute < 3; ++minute) {
    for (int i = 0; i < 30; ++i) {
      rig.take("a", kArray, "portal a is dead");
      rig.take("b", kArray, "portal b is dead");
      rig.take("a", kOther, "portal c is dead");
      rig.later(2 * kSecond);
    }
  }
  CHECK(rig.lines.size() == 3 + 3 * 3);
}

TEST_CASE("fold: some kinds may happen a few times at once") {
  Rig rig;
  int told = 0;
  for (int i = 0; i < 20; ++i) told += rig.take("attached", kArray, "attached", 8) ? 1 : 0;
  CHECK(told == 8);
  rig.later(60 * kSecond);
  CHECK(rig.lines.back() == "attached (12 times more in 60 s)");
  CHECK_FALSE(rig.take("attached", kArray, "attached", 8));  // it goes on
  rig.later(60 * kSecond);
  rig.later(60 * kSecond);
  CHECK(rig.take("attached", kArray, "attached", 8));
}

TEST_CASE("fold: a peer is its host, whatever the port") {
  Rig rig;
  CHECK(rig.take("x", {.exported = "vol0", .client = "10.0.0.1:1"}, "first"));
  CHECK_FALSE(rig.take("x", {.exported = "vol0", .client = "10.0.0.1:2"}, "second"));
  CHECK(rig.take("x", {.exported = "vol0", .client = "10.0.0.2:2"}, "another host"));
  CHECK(rig.take("x", {.exported = "vol1", .client = "10.0.0.1:2"}, "another export"));
  CHECK_FALSE(
      rig.take("x", {.exported = "vol1", .client = "10.0.0.1:2", .session = 5}, "the session does not count"));
}

TEST_CASE("fold: a change of the subject tells what is counted of it, and of nobody else") {
  Rig rig;
  for (int i = 0; i < 5; ++i) {
    rig.take("a", kArray, "a");
    rig.take("b", kArray, "b");
    rig.take("a", kOther, "other");
  }
  rig.now += 10 * kSecond;
  rig.folder.tell(kArray, rig.now, rig.due);
  rig.collect();
  CHECK(rig.lines ==
        std::vector<std::string>{"a", "b", "other", "a (4 times more in 10 s)", "b (4 times more in 10 s)"});
  rig.folder.tell(kArray, rig.now, rig.due);
  CHECK(rig.due.empty());
  rig.folder.tell_all(rig.now, rig.due);
  REQUIRE(rig.due.size() == 1);
  CHECK(rig.due[0].target == "other");
  CHECK(rig.due[0].level == Level::warn);
}

TEST_CASE("fold: neither peers nor what they say make the table grow, and their lines stay few") {
  Rig rig;
  SUBCASE("many peers") {
    for (int i = 0; i < 10'000; ++i) rig.take("x", {.client = fmt::format("10.{}.{}.1:99", i / 250, i % 250)}, "x");
    CHECK(rig.folder.size() == net::log::Folder::kMaxEntries);
    CHECK(rig.lines.size() == net::log::Folder::kMaxEntries);
    rig.later(60 * kSecond);
    CHECK(rig.lines.size() == net::log::Folder::kMaxEntries + 1);
    CHECK(rig.lines.back() == "x (and 9743 lines of others in 60 s, too many to tell apart)");
    CHECK(rig.folder.size() == 1);
  }
  SUBCASE("many kinds") {
    for (int i = 0; i < 10'000; ++i) rig.take(fmt::format("kind {}", i).c_str(), kArray, "x");
    CHECK(rig.folder.size() == net::log::Folder::kMaxKinds + 1);
    CHECK(rig.take("x", kOther, "another subject has its place"));
  }
  SUBCASE("long texts") {
    rig.take("x", kArray, "x");
    rig.take("x", kArray, std::string(1'000'000, 'x'));
    rig.later(60 * kSecond);
    CHECK(rig.lines.back().size() < 4000);
  }
}

TEST_CASE("strangers: one line at once, then one a minute for all of them") {
  using net::log::Stranger;
  net::log::Strangers strangers;
  proto::Micros now = 1000 * kSecond;
  const auto first = strangers.note("10.0.0.1:5", "bad_option_magic", "It is no NBD client.", Stranger::hostile, now);
  REQUIRE(first);
  CHECK(first->level == Level::warn);
  CHECK(first->text.starts_with("10.0.0.1:5: left before it attached. It is no NBD client. "));
  for (int i = 0; i < 10'000; ++i) {
    CHECK_FALSE(strangers.note(fmt::format("10.0.{}.1:7", i % 9), "silent", "", Stranger::silent, now));
    if (i % 10 == 0) CHECK_FALSE(strangers.note("10.9.9.9:1", "handshake_timeout", "", Stranger::hostile, now));
  }
  CHECK_FALSE(strangers.due(now + 59 * kSecond));
  now += 60 * kSecond;
  const auto told = strangers.due(now);
  REQUIRE(told);
  CHECK(told->level == Level::warn);
  CHECK(
      told->text ==
      "11000 connection(s) left before they attached in 60 s (silent 10000, handshake_timeout 1000), from 10.0.0.1, "
      "10.9.9.9, 10.0.1.1, 10.0.2.1, 10.0.3.1 and others");
  CHECK_FALSE(strangers.due(now + 600 * kSecond));
  CHECK_FALSE(strangers.all(now));
}

TEST_CASE("strangers: a health check is told once an hour, whoever else comes at once") {
  using net::log::Stranger;
  net::log::Strangers strangers;
  proto::Micros now = 1000 * kSecond;
  int lines = 0;
  for (int i = 0; i < 1800; ++i) {
    now += 2 * kSecond;
    const auto told = strangers.note("10.0.0.1:5", "silent", "", Stranger::silent, now);
    if (told) CHECK(told->level == Level::info);
    lines += (told ? 1 : 0) + (strangers.due(now) ? 1 : 0);
  }
  CHECK(lines == 1);
  now += 2 * kSecond;
  const auto all = strangers.note("10.0.0.2:5", "bad_option_magic", "", Stranger::hostile, now);
  REQUIRE(all);
  CHECK(all->level == Level::warn);
  CHECK(all->client.empty());
}
