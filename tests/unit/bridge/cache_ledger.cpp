// Stories of writes, flushes, reports and observers, played to the ledger and to a judge.
#include "gateway/bridge/cache_ledger.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/unit/random.hpp"

using nbdgw::bridge::CacheLedger;
using nbdgw::bridge::CacheObserver;
using nbdgw::bridge::LossTold;
using nbdgw::nbd::LossStanding;

namespace {

/// A story of writes, flushes, reports and observers, one letter each:
///   w  a write is sent                     W  the oldest one out is acknowledged
///   f  a FLUSH by A comes and its command goes; g: by B
///   F  it ends well   E  it ends with an error that costs nothing   L  it ends with one that costs what is in the
///   cache x  a command is sent that will report  X  the oldest one of them reports a  A comes, or goes b  B does
/// A is there from the beginning. Plays it to the ledger, and judges it itself, with sets of writes.
class Story {
 public:
  Story() { toggle(0); }
  ~Story() {
    for (Seat& seat : seats_) {
      if (seat.observer) ledger_.detach(*seat.observer);
    }
  }

  /// Whether this can happen next.
  bool possible(char event) const {
    switch (event) {
      case 'W':
        return next_ack_ < writes_.size();
      case 'f':
      case 'g':
        return !flushing_ && seats_[event == 'g' ? 1 : 0].observer;
      case 'F':
      case 'E':
      case 'L':
        return flushing_;
      case 'X':
        return next_report_ < reports_.size();
      case 'a':
      case 'b':
        return !flushing_ || asks_ != (event == 'b' ? 1U : 0U);
      default:
        return true;
    }
  }

  void play(char event) {
    ++time_;
    switch (event) {
      case 'w':
        writes_.push_back({.sent = time_, .known = ledger_.known().reports});
        return;
      case 'W':
        return acknowledge(writes_[next_ack_++]);
      case 'f':
      case 'g':
        flushing_ = true;
        asks_ = event == 'g' ? 1 : 0;
        flushes_.push_back({.begun = time_, .acknowledged = ledger_.acknowledged(), .known = ledger_.known()});
        return;
      case 'F':
        ledger_.flush_succeeds(flushes_.back().acknowledged);
        flushes_.back().good = time_;
        return flush_over();
      case 'E':
        return flush_over();
      case 'L':
        reports_told_.push_back(time_);
        ledger_.report(flushes_.back().known);
        lose([&](const Write& write) { return !safe(write, flushes_.back().begun); });
        return flush_over();
      case 'x':
        reports_.push_back({.sent = time_, .known = ledger_.known()});
        return;
      case 'X': {
        const Report& report = reports_[next_report_++];
        reports_told_.push_back(time_);
        ledger_.report(report.known);
        return lose([&](const Write& write) { return !safe(write, report.sent); });
      }
      case 'a':
      case 'b':
        return toggle(event == 'b' ? 1 : 0);
      default:
        FAIL("no such event");
    }
  }

  /// For each FLUSH that is over: '-' where it must fail for a lost cache, '+' else. By the ledger, and by the judge.
  std::string ledger_says;
  std::string judge_says;
  /// A write was acknowledged after a report, or a flush that has cost something, that it may be older than.
  bool late_write = false;
  CacheLedger& ledger() { return ledger_; }

 private:
  using Set = std::set<std::size_t>;  // of writes
  struct Write {
    int sent = 0;
    std::uint64_t known = 0;
    int acked = 0;
  };
  struct Flush {
    int begun = 0;
    std::uint64_t acknowledged = 0;
    CacheLedger::Known known{};
    int good = 0;
  };
  struct Report {
    int sent = 0;
    CacheLedger::Known known{};
  };
  struct Seat {
    std::optional<CacheObserver> observer;  // is there
    bool newcomer = true;
    Set told;  // these are none of its business any more
    Set owed;
  };

  /// On stable storage before this time, as far as is known.
  bool safe(const Write& write, int time) const {
    return std::ranges::any_of(flushes_, [&](const Flush& flush) {
      return flush.good != 0 && flush.begun > write.acked && flush.good < time;
    });
  }

  template <typename Lost>
  void lose(Lost lost) {
    Set all;
    for (std::size_t i = 0; i < writes_.size(); ++i) {
      if (writes_[i].acked != 0 && lost(writes_[i])) all.insert(i);
    }
    lose_all(all);
  }
  void lose_all(const Set& lost) {
    const auto without = [&](const Set& told) {
      Set rest;
      std::ranges::set_difference(lost, told, std::inserter(rest, rest.end()));
      return rest;
    };
    for (Seat& seat : seats_) {
      if (!seat.observer || without(seat.told).empty()) continue;
      seat.owed.merge(without(seat.told));
      seat.newcomer = false;
    }
    if (!seats_[0].observer && !seats_[1].observer && !without(doubted_).empty()) ++debts_;
    doubted_.insert(lost.begin(), lost.end());
  }

  void acknowledge(Write& write) {
    write.acked = time_;
    ledger_.count_write(write.known);
    if (std::ranges::none_of(reports_told_, [&](int told) { return write.sent < told; })) return;
    late_write = true;
    lose_all({next_ack_ - 1});
  }

  void toggle(std::size_t who) {
    Seat& seat = seats_[who];
    if (seat.observer) {
      ledger_.detach(*seat.observer);
      seat.observer.reset();
      if (!seat.owed.empty()) ++debts_;
      return;
    }
    seat.newcomer = true;
    seat.told.clear();  // of what it is told later it was not told before, whoever was
    seat.owed.clear();
    ledger_.attach(seat.observer.emplace(), LossStanding::newcomer);
  }

  void flush_over() {
    flushing_ = false;
    const Flush& flush = flushes_.back();
    Seat& seat = seats_[asks_];
    Set covered;
    for (std::size_t i = 0; i < writes_.size(); ++i) {
      if (writes_[i].acked != 0 && writes_[i].acked < flush.begun) covered.insert(i);
    }
    CHECK(covered.size() == flush.acknowledged);
    const auto is_owed = [&](std::size_t write) { return seat.owed.contains(write); };
    const bool own = std::ranges::any_of(covered, is_owed);
    const bool left = !own && seat.newcomer && debts_ > 0;
    if (own) {
      for (const std::size_t write : covered) seat.owed.erase(write);
      seat.told.insert(covered.begin(), covered.end());
    }
    if (left) --debts_;
    judge_says += own || left ? '-' : '+';
    const LossTold why = ledger_.must_tell(*seat.observer, flush.acknowledged);
    ledger_.begin_telling(*seat.observer, why, flush.acknowledged);
    ledger_.end_telling();
    ledger_.heard(*seat.observer, why);
    ledger_says += why != LossTold::no ? '-' : '+';
  }

  CacheLedger ledger_;
  int time_ = 0;
  std::vector<Write> writes_;
  std::vector<Flush> flushes_;
  std::vector<Report> reports_;
  std::vector<int> reports_told_;
  std::array<Seat, 2> seats_;
  Set doubted_;
  int debts_ = 0;
  std::size_t next_ack_ = 0;
  std::size_t next_report_ = 0;
  std::size_t asks_ = 0;
  bool flushing_ = false;
};

std::string play(const std::string& events) {
  Story story;
  for (const char event : events) {
    REQUIRE(story.possible(event));
    story.play(event);
  }
  return story.ledger_says;
}

/// The ledger and the judge agree; but after a write that came late: the ledger keeps one run of doubtful writes. It
/// may count some in between that are none, never leave one out.
void check(const Story& story, const std::string& events) {
  if (!story.late_write) {
    if (story.judge_says != story.ledger_says)
      FAIL(events << ": " << story.ledger_says << " instead of " << story.judge_says);
    return;
  }
  for (std::size_t i = 0; i < story.judge_says.size(); ++i) {
    if (story.judge_says[i] == '-' && story.ledger_says[i] != '-') FAIL(events);
    if (story.judge_says[i] != story.ledger_says[i]) return;  // from there on they tell different things
  }
}

/// Every story that goes on from here, up to `length` of these events; returns how many end here.
std::uint64_t every_story(std::string& events, const std::string& alphabet, std::size_t length) {
  Story story;
  for (const char event : events) story.play(event);
  check(story, events);
  std::uint64_t count = 1;
  if (events.size() == length) return count;
  for (const char event : alphabet) {
    if (!story.possible(event)) continue;
    events.push_back(event);
    count += every_story(events, alphabet, length);
    events.pop_back();
  }
  return count;
}

}  // namespace

TEST_CASE("cache ledger: the orders of write, flush and report") {
  struct Row {
    const char* what;
    const char* events;
    const char* flushes;
  };
  const Row rows[] = {
      {"no report", "wWfF", "+"},
      {"a report with nothing acknowledged", "xXfF", "+"},
      {"a report before the write was sent", "xXwWfF", "+"},
      {"write, report, flush", "wWxXfF", "-"},
      {"exactly once", "wWxXfFfFwWfF", "-++"},
      {"what is written after the report is not lost with it, but the flush fails", "wWxXwWfFfF", "-+"},
      {"a report while the flush runs", "wWfxXF", "-"},
      {"a report when the flush has succeeded", "wWfFxXfF", "++"},
      {"the same, but the reporting command is older than the end of the flush", "wWfxFXfF", "+-"},
      {"the reporting command is older than the flush", "wWxfFXfF", "+-"},
      {"acknowledged while the flush runs: the next flush tells of it", "wWfwWxXFfF", "--"},
      {"the same, with nothing acknowledged before it", "fwWxXFfF", "+-"},
      {"sent before the report, acknowledged after it", "wxXWfF", "-"},
      {"the same, while a flush runs that does not cover it", "wfxXWFfF", "+-"},
      {"sent and acknowledged after the report", "wWxXwWfF", "-"},
      {"a flush with an error tells it, too", "wWxXfEfF", "-+"},
      {"a flush with an error leaves what it should have covered in the cache", "wWfExXfF", "+-"},
      {"two reports of one loss", "wWxxXXfFfF", "-+"},
      {"the second one comes late: what was told is told", "wWxxXfFXfF", "-+"},
      {"two losses", "wWxXfFwWxXfFfF", "--+"},
      {"two losses before a flush", "wWxXwWxXfFfF", "-+"},
      {"B is told, too, whoever asks first", "bwWxXfFgFfFgF", "--++"},
      {"the same, with B first", "bwWxXgFfFgFfF", "--++"},
      {"a flush that fails for good is a loss, for both", "bwWfLgFfFgF", "--++"},
      {"one that fails without a loss is the asker's business", "bwWfEgFfF", "+++"},
      {"the loss that a failed flush was is not told again by a late report", "bwWxfLgFXfFgF", "--++"},
      {"what was acknowledged while it ran is lost with it, and for the next to tell", "bwWfwWLgFfFgF", "---+"},
      {"so is what was sent before it failed, and is acknowledged later", "bwWfwLWgFfFgF", "---+"},
      {"with nothing to cover, too", "bfwWLgFfFgF", "+--+"},
      {"what is sent after it is not", "fLwWfF", "++"},
      {"who comes later hears nothing", "wWxXbgFfF", "+-"},
      {"who comes before the loss hears of it, whoever has written", "wWbxXgFfF", "--"},
      {"what A has not heard is told to the next that comes", "wWxXabgFgF", "-+"},
      {"B was told itself, and is none of those", "bwWxXagFgF", "-+"},
      {"but A is, when it comes back", "bwWxXagFgFafFfF", "-+-+"},
      {"nobody there: the next one", "wWaxXbgFgF", "-+"},
      {"nobody there, two reports of one loss", "wWaxxXXbgFgF", "-+"},
      {"nobody there, nothing lost", "wWfFaxXbgF", "++"},
      {"A has heard of it: no debt is left", "wWxXfFabgF", "-+"},
      {"two that have gone untold are two debts", "bwWxXababfFgFfFgF", "--++"},
      {"the one that came between has its own", "wWxXbwWxXagFgF", "-+"},
      {"the flush before the last one is no comfort to a report that is older than both", "wWxfFwWfFXfF", "++-"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.what);
    CHECK(play(row.events) == row.flushes);
  }
}

TEST_CASE("cache ledger: every story of up to nine events, against a judge who remembers all of it") {
  std::string events;
  const std::uint64_t stories = every_story(events, "wWfFExX", 9);
  CHECK(stories > 100'000);
}

TEST_CASE("cache ledger: every story with two observers of up to seven events") {
  for (const char* begin : {"", "bwW", "bwWxX", "wWxXab"}) {
    std::string events = begin;
    const std::uint64_t stories = every_story(events, "wWfgFELxXab", events.empty() ? 7 : events.size() + 5);
    CHECK(stories > 5'000);
  }
}

TEST_CASE("cache ledger: long stories at random") {
  auto random = nbdgw::test::seeded_random();
  const std::string alphabet = "wwWWfgFFELxXab";
  std::uint64_t failed = 0;
  for (int round = 0; round < 20'000; ++round) {
    Story story;
    std::string events;
    while (events.size() < 60) {
      const char event = alphabet[random() % alphabet.size()];
      if (!story.possible(event)) continue;
      events += event;
      story.play(event);
      check(story, events);
    }
    failed += static_cast<std::uint64_t>(std::ranges::count(story.ledger_says, '-'));
  }
  CHECK(failed > 1000);
}

TEST_CASE("cache ledger: what was in doubt before it came, and was there yet, may be lost after it came") {
  CacheLedger ledger;
  CacheObserver before, after;
  ledger.attach(before, LossStanding::newcomer);
  ledger.count_write(0);
  ledger.report(ledger.known());
  ledger.attach(after, LossStanding::newcomer);
  CHECK(ledger.must_tell(before, ledger.acknowledged()) == LossTold::own);
  CHECK(ledger.must_tell(after, ledger.acknowledged()) == LossTold::no);
  ledger.report(ledger.known());
  CHECK(ledger.must_tell(after, ledger.acknowledged()) == LossTold::own);
  ledger.detach(before);
  ledger.detach(after);
}
