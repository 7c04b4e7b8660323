#include "gateway/bridge/cache_ledger.hpp"

#include <deque>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using nbdgw::bridge::CacheLedger;

namespace {

/// A story of writes, flushes and reports, one letter each:
///   w  a write is sent                     W  the oldest one out is acknowledged
///   f  a FLUSH comes and its command goes  F  it ends well   E  it ends with an error
///   x  a command is sent that will report  X  the oldest one of them reports
/// Plays it to the ledger, and judges it itself, by looking at the whole past each time.
class Story {
 public:
  /// Whether this can happen next.
  bool possible(char event) const {
    switch (event) {
      case 'W':
        return next_ack_ < writes_.size();
      case 'f':
        return !flushing_;
      case 'F':
      case 'E':
        return flushing_;
      case 'X':
        return next_report_ < reports_.size();
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
        writes_[next_ack_].acked = time_;
        ledger_.count_write(writes_[next_ack_].known);
        ++next_ack_;
        return;
      case 'f':
        flushing_ = true;
        flushes_.push_back({.begun = time_, .acknowledged = ledger_.acknowledged()});
        ledger_.flush_begins();
        return;
      case 'F':
        ledger_.flush_succeeds();
        flushes_.back().good = time_;
        return flush_over();
      case 'E':
        return flush_over();
      case 'x':
        reports_.push_back({.sent = time_, .known = ledger_.known()});
        return;
      case 'X':
        reports_[next_report_].told = time_;
        ledger_.report(reports_[next_report_].known);
        ++next_report_;
        return;
      default:
        FAIL("no such event");
    }
  }

  /// For each FLUSH that is over: '-' where it must fail for a lost cache, '+' else. By the ledger, and by the judge.
  std::string ledger_says;
  std::string judge_says;
  /// A write was acknowledged after a report that it may be older than.
  bool late_write = false;

 private:
  struct Write {
    int sent = 0;
    std::uint64_t known = 0;
    int acked = 0;
    bool told = false;
  };
  struct Flush {
    int begun = 0;
    std::uint64_t acknowledged = 0;
    int good = 0;
  };
  struct Report {
    int sent = 0;
    CacheLedger::Known known{};
    int told = 0;
  };

  bool in_doubt(const Write& write) {
    if (write.told || write.acked == 0) return false;
    for (const Report& report : reports_) {
      if (report.told == 0) continue;
      if (write.acked > report.told) {
        if (write.sent > report.told) continue;
        late_write = true;
        return true;
      }
      bool safe = false;
      for (const Flush& flush : flushes_) {
        safe = safe || (flush.good != 0 && flush.begun > write.acked && flush.good < report.sent);
      }
      if (!safe) return true;
    }
    return false;
  }

  void flush_over() {
    flushing_ = false;
    const Flush& flush = flushes_.back();
    bool must = false;
    std::size_t covered = 0;
    for (Write& write : writes_) {
      if (write.acked == 0 || write.acked > flush.begun) continue;
      ++covered;
      must = in_doubt(write) || must;
    }
    CHECK(covered == flush.acknowledged);
    if (must) {
      for (Write& write : writes_) write.told = write.told || (write.acked != 0 && write.acked < flush.begun);
    }
    judge_says += must ? '-' : '+';
    const bool fails = ledger_.flush_must_fail(flush.acknowledged);
    if (fails) ledger_.told(flush.acknowledged);
    ledger_says += fails ? '-' : '+';
  }

  CacheLedger ledger_;
  int time_ = 0;
  std::vector<Write> writes_;
  std::vector<Flush> flushes_;
  std::vector<Report> reports_;
  std::size_t next_ack_ = 0;
  std::size_t next_report_ = 0;
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

/// Every story that goes on from here, up to `length` events; returns how many end here.
std::uint64_t every_story(const Story& story, std::string& events, std::size_t length) {
  if (story.late_write) {
    // The ledger keeps one run of doubtful writes. It may count some in between that are none, never leave one out.
    for (std::size_t i = 0; i < story.judge_says.size(); ++i) {
      if (story.judge_says[i] == '-' && story.ledger_says[i] != '-') FAIL(events);
      if (story.judge_says[i] != story.ledger_says[i]) return 1;  // from there on they tell different things
    }
  } else if (story.judge_says != story.ledger_says) {
    FAIL(events << ": " << story.ledger_says << " instead of " << story.judge_says);
  }
  std::uint64_t count = 1;
  if (events.size() == length) return count;
  for (const char event : {'w', 'W', 'f', 'F', 'E', 'x', 'X'}) {
    if (!story.possible(event)) continue;
    Story next = story;
    next.play(event);
    events.push_back(event);
    count += every_story(next, events, length);
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
      {"the flush before the last one is no comfort to a report that is older than both", "wWxfFwWfFXfF", "++-"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.what);
    CHECK(play(row.events) == row.flushes);
  }
}

TEST_CASE("cache ledger: every story of up to nine events, against a judge who remembers all of it") {
  std::string events;
  const std::uint64_t stories = every_story(Story(), events, 9);
  CHECK(stories > 100'000);
}

TEST_CASE("cache ledger: numbers for people") {
  CacheLedger ledger;
  ledger.count_write(ledger.known().reports);
  ledger.count_write(ledger.known().reports);
  ledger.flush_begins();
  ledger.count_write(ledger.known().reports);
  CHECK(ledger.unflushed() == 3);
  ledger.flush_succeeds();
  CHECK(ledger.unflushed() == 1);
  CHECK(ledger.acknowledged() == 3);
  CHECK(ledger.doubtful() == 0);
  ledger.report(ledger.known());
  CHECK(ledger.doubtful() == 1);
  CHECK_FALSE(ledger.lost_since(CacheLedger::kNothingCached));
  CHECK(ledger.lost_since(0));
  CHECK_FALSE(ledger.lost_since(ledger.known().reports));
}
