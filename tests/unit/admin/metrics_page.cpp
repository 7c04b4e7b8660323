// /metrics as a whole: the catalogue, all of it and nothing else.
#include "gateway/admin/metrics_page.hpp"

#include <spdlog/logger.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <thread>

#include <doctest/doctest.h>

#include "tests/unit/random.hpp"

using namespace nbdgw;
using namespace nbdgw::admin;
using namespace nbdgw::http;

namespace {

struct Line {
  std::string name;
  std::map<std::string, std::string> labels;
  std::string value;
};

/// Takes a line apart whose label values are plain.
Line parse(const std::string& text) {
  Line line;
  const std::size_t space = text.rfind(' ');
  REQUIRE(space != std::string::npos);
  line.value = text.substr(space + 1);
  const std::size_t brace = text.find('{');
  line.name = text.substr(0, std::min(brace, space));
  for (std::size_t at = brace; at < space && text[at] != '}';) {
    const std::size_t equals = text.find("=\"", at);
    const std::size_t end = text.find('"', equals + 2);
    line.labels[text.substr(at + 1, equals - at - 1)] = text.substr(equals + 2, end - equals - 2);
    at = end + 1;
  }
  return line;
}

std::vector<std::string> lines_of(const std::string& page) {
  std::vector<std::string> lines;
  std::istringstream stream(page);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// The value of a series, as it is written before the value; empty: there is none.
std::string value_of(const std::string& page, const std::string& series) {
  const std::size_t at = page.find("\n" + series + " ");
  if (at == std::string::npos) return {};
  const std::size_t begin = at + series.size() + 2;
  return page.substr(begin, page.find('\n', begin) - begin);
}

shard::ExportView exported(const std::string& name) {
  shard::ExportView view;
  view.name = name;
  return view;
}

shard::SessionView session(const std::string& target, std::size_t connections = 2) {
  shard::SessionView view;
  view.target = target;
  view.connections.resize(connections);
  for (std::size_t i = 0; i < connections; ++i) view.connections[i].cid = static_cast<std::uint16_t>(i);
  return view;
}

/// All that a page is made of, to be changed at will.
struct Snapshot {
  operator MetricsSnapshot() const { return {gateway, admin, process, log}; }
  shard::GatewayView gateway;
  AdminFigures admin;
  ProcessFigures process;
  LogCounts log;
};

Snapshot snapshot() {
  Snapshot made;
  made.gateway.shards.resize(2);
  for (std::uint32_t i = 0; i < 2; ++i) {
    shard::ShardView& shard = made.gateway.shards[i];
    shard.index = i;
    shard.exports = {exported("vol" + std::to_string(2 * i)), exported("vol" + std::to_string(2 * i + 1))};
    shard.sessions = {session("array" + std::to_string(i))};
  }
  made.admin.version = "1.2.3";
  made.admin.answers = {{200, 7}, {404, 0}};
  made.admin.changes = {{.verb = "drain", .accepted = 3, .refused = 2, .dry_run = 1}, {.verb = "undrain"}};
  return made;
}

std::string joined(const SharedText& page) {
  std::string all;
  for (const auto& piece : page) all += *piece;
  return all;
}

std::string text_of(MetricsPage& page, const Snapshot& now) {
  return joined(page.render(now));
}

std::string text_of_new(const Snapshot& now) {
  MetricsPage page;
  return text_of(page, now);
}

/// Something happens to any of them, or nothing.
void change_something(Snapshot& now, std::mt19937_64& random) {
  for (shard::ShardView& shard : now.gateway.shards) {
    if (random() % 2 == 0) shard.memory_used = random() >> (random() % 64);
    for (shard::ExportView& each : shard.exports) {
      if (random() % 2 == 0) each.counters.durations.write.add(static_cast<proto::Micros>(random() % 100'000'000));
      if (random() % 4 == 0) each.counters.durations.trim.add(7);
      if (random() % 8 == 0) each.counters.durations = {};  // it was made anew
      if (random() % 2 == 0) each.oldest_request = static_cast<proto::Micros>(random() % 10'000'000);
      if (random() % 2 == 0) each.nbd.requests[random() % each.nbd.requests.size()] += random() % 1000;
    }
    for (shard::SessionView& each : shard.sessions) {
      if (random() % 2 == 0) each.window = static_cast<std::uint32_t>(random() % 130);
      if (random() % 10 == 0) each.connections.resize(random() % 4);
      if (random() % 4 == 0) each.counters.rung_durations[random() % initiator::kRungCount].add(1'000);
    }
    if (random() % 10 == 0 && !shard.exports.empty()) shard.exports.erase(shard.exports.begin());
    if (random() % 10 == 0) shard.exports.push_back(exported("new" + std::to_string(random())));
  }
  if (random() % 10 == 0) std::swap(now.gateway.shards[0].exports, now.gateway.shards[1].exports);
  now.process.cpu_seconds += static_cast<double>(random() % 1000) / 1e6;
}

/// The metric that a line belongs to, by its name, and whether it is a bucket.
const Metric* metric_of(std::string name, bool& bucket) {
  bucket = false;
  for (const Metric* each : catalogue()) {
    if (name == each->name && each->kind != MetricKind::histogram) return each;
    if (each->kind != MetricKind::histogram || !name.starts_with(each->name)) continue;
    const std::string rest = name.substr(each->name.size());
    bucket = rest == "_bucket";
    if (bucket || rest == "_sum" || rest == "_count") return each;
  }
  return nullptr;
}

}  // namespace

TEST_CASE("metrics page: every metric of the catalogue, with its labels, and nothing else") {
  MetricsPage page;
  Snapshot now = snapshot();
  now.gateway.shards[0].exports[0].counters.durations.read.add(1);
  now.gateway.shards[0].sessions[0].counters.rung_durations[0].add(1);
  const std::string text = text_of(page, now);
  REQUIRE(text.ends_with('\n'));
  std::map<const Metric*, std::size_t> series;
  std::vector<std::string> families;
  std::set<std::string> seen;
  for (const std::string& line : lines_of(text)) {
    CAPTURE(line);
    if (line.starts_with("# TYPE ")) families.push_back(line.substr(7, line.find(' ', 7) - 7));
    if (line.starts_with('#')) continue;
    CHECK(seen.insert(line.substr(0, line.rfind(' '))).second);  // no series twice
    Line parsed = parse(line);
    bool bucket = false;
    const Metric* metric = metric_of(parsed.name, bucket);
    REQUIRE(metric != nullptr);
    CHECK(parsed.labels.erase("le") == (bucket ? 1 : 0));
    for (const std::string_view label : metric->labels) {
      if (!label.empty()) CHECK_MESSAGE(parsed.labels.erase(std::string(label)) == 1, label);
    }
    CHECK(parsed.labels.empty());
    REQUIRE(!families.empty());
    CHECK(families.back() == metric->name);  // under its own header
    ++series[metric];
  }
  CHECK(families.size() == catalogue().size());
  for (std::size_t i = 0; i < catalogue().size(); ++i) {
    CAPTURE(catalogue()[i]->name);
    CHECK(series[catalogue()[i]] > 0);
    if (i < families.size()) CHECK(families[i] == catalogue()[i]->name);
  }
}

TEST_CASE("metrics page: what the catalogue says can be written as it is") {
  std::set<std::string_view> names;
  for (const Metric* each : catalogue()) {
    CAPTURE(each->name);
    CHECK(names.insert(each->name).second);
    CHECK(!each->help.empty());
    CHECK(!each->unit.empty());
    CHECK(each->help.find_first_of("\\\n") == std::string_view::npos);  // the serializer escapes labels only
    CHECK((each->kind == MetricKind::counter) == each->name.ends_with("_total"));
    CHECK(each->name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_") == std::string_view::npos);
    const auto gap = std::ranges::find(each->labels, std::string_view());
    CHECK(std::all_of(gap, each->labels.end(), [](std::string_view label) { return label.empty(); }));
  }
}

TEST_CASE("metrics page: known series are there from the start, with 0") {
  MetricsPage page;
  const std::string text = text_of(page, snapshot());
  for (const char* series : {
           R"-(nbdgw_nbd_requests_total{export="vol3",command="write_zeroes"})-",
           R"-(nbdgw_nbd_requests_total{export="vol3",command="other"})-",
           R"-(nbdgw_nbd_errors_total{export="vol0",error="NBD_ENOSPC"})-",
           R"-(nbdgw_nbd_closed_total{reason="handshake_timeout"})-",
           R"-(nbdgw_nbd_closed_total{reason="stalled"})-",
           R"-(nbdgw_iscsi_session_state{session="array0",state="logged_in"})-",
           R"-(nbdgw_iscsi_pdus_received_total{session="array1",opcode="async_message"})-",
           R"-(nbdgw_iscsi_sent_bytes_total{session="array1",cid="1"})-",
           R"-(nbdgw_scsi_tasks_total{session="array1",opcode="SYNCHRONIZE CACHE(16)"})-",
           R"-(nbdgw_scsi_status_total{session="array1",status="task_set_full"})-",
           R"-(nbdgw_scsi_sense_total{session="array1",sense_key="unit_attention"})-",
           R"-(nbdgw_scsi_retries_total{export="vol1",reason="session_lost"})-",
           R"-(nbdgw_recovery_rungs_total{session="array0",rung="target_warm_reset",outcome="timed_out"})-",
           R"-(nbdgw_recovery_active{session="array0",rung="lu_reset"})-",
           R"-(nbdgw_nbd_closed_total{reason="silent"})-",
           R"-(nbdgw_log_messages_total{level="trace"})-",
           "nbdgw_log_dropped_total",
           R"-(nbdgw_admin_refused_total{reason="wrong_token"})-",
           R"-(nbdgw_admin_requests_total{code="404"})-",
           R"-(nbdgw_config_reloads_total{outcome="failure"})-",
       }) {
    CAPTURE(series);
    CHECK(value_of(text, series) == "0");
  }
}

TEST_CASE("metrics page: a histogram of one command or rung comes with its first duration, and stays") {
  MetricsPage page;
  Snapshot now = snapshot();
  const std::string trims = R"-(nbdgw_nbd_request_duration_seconds_count{export="vol1",command="trim"})-";
  const std::string writes = R"-(nbdgw_nbd_request_duration_seconds_count{export="vol1",command="write"})-";
  CHECK(text_of(page, now).find("nbdgw_nbd_request_duration_seconds_count") == std::string::npos);
  auto& durations = now.gateway.shards[0].exports[1].counters.durations;
  durations.trim.add(5);
  std::string text = text_of(page, now);
  CHECK(value_of(text, trims) == "1");
  CHECK(text.find(writes) == std::string::npos);
  durations.write.add(5);
  text = text_of(page, now);
  CHECK(value_of(text, trims) == "1");
  CHECK(value_of(text, writes) == "1");
  CHECK(text == text_of_new(now));
}

TEST_CASE("metrics page: values come from where they belong") {
  Snapshot now = snapshot();
  now.gateway.draining = true;
  now.gateway.over_limit = 4;
  now.gateway.out_of_descriptors = 5;
  now.gateway.shards[0].handshakes = 1;
  now.gateway.shards[1].handshakes = 2;
  now.gateway.shards[0].closed[static_cast<std::size_t>(nbd::CloseReason::disc)] = 10;
  now.gateway.shards[1].closed[static_cast<std::size_t>(nbd::CloseReason::disc)] = 20;
  now.gateway.shards[1].memory_used = 4096;
  shard::ExportView& vol = now.gateway.shards[1].exports[0];
  vol.state = bridge::ExportState::online;
  vol.admin_state = shard::AdminState::drain;
  vol.oldest_request = 1'500'000;
  vol.tasks_in_flight = 9;
  vol.tasks_held = 2;
  vol.tasks_queued = 3;
  vol.tasks_delayed = 4;
  vol.info.size = 1 << 20;
  vol.nbd.requests[nbd::Counters::index_of(proto::nbd::Command::trim)] = 6;
  vol.nbd.replies[nbd::Counters::index_of(proto::nbd::Error::eio)] = 7;
  vol.nbd.replies[nbd::Counters::index_of(proto::nbd::Error::none)] = 999;
  vol.counters.durations.flush.add(70);
  shard::SessionView& array = now.gateway.shards[0].sessions[0];
  array.state = initiator::SessionState::logged_in;
  array.connections[1].state = initiator::ConnectionState::started;
  array.connections[0].counters.sent(proto::iscsi::Opcode::scsi_command);
  array.connections[1].counters.sent(proto::iscsi::Opcode::scsi_command);
  array.connections[1].counters.bytes_received = 48;
  array.climb.emplace().rung = initiator::Rung::lu_reset;
  const auto rung = static_cast<std::size_t>(initiator::Rung::abort_task);
  array.counters.rungs[rung][static_cast<std::size_t>(initiator::RungOutcome::refused)] = 8;
  array.counters.rung_durations[rung].add(2'000'000);
  array.counters.sense_keys[static_cast<std::size_t>(proto::scsi::SenseKey::medium_error)] = 9;
  now.admin.ready = true;
  now.admin.reloads.last_succeeded = false;
  now.process.cpu_seconds = 1.25;
  now.log.messages[3] = 11;
  now.log.dropped = 12;
  now.admin.intrusions[static_cast<std::size_t>(Intrusion::wrong_token)] = 13;
  MetricsPage page;
  const std::string text = text_of(page, now);
  const std::map<std::string, std::string> expected = {
      {"nbdgw_draining", "1"},
      {"nbdgw_ready", "1"},
      {"nbdgw_config_last_reload_successful", "0"},
      {"nbdgw_nbd_handshakes", "3"},
      {R"(nbdgw_nbd_turned_away_total{reason="connection_limit"})", "4"},
      {R"(nbdgw_nbd_turned_away_total{reason="descriptors"})", "5"},
      {R"(nbdgw_nbd_closed_total{reason="disc"})", "30"},
      {R"(nbdgw_memory_used_bytes{shard="1"})", "4096"},
      {R"(nbdgw_export_up{export="vol2"})", "1"},
      {R"(nbdgw_export_up{export="vol3"})", "0"},
      {R"(nbdgw_export_state{export="vol2",state="online"})", "1"},
      {R"(nbdgw_export_state{export="vol2",state="offline"})", "0"},
      {R"(nbdgw_export_admin_state{export="vol2",state="drain"})", "1"},
      {R"(nbdgw_export_size_bytes{export="vol2"})", "0"},  // not known yet
      {R"(nbdgw_nbd_oldest_request_seconds{export="vol2"})", "1.5"},
      {R"(nbdgw_scsi_tasks_in_flight{export="vol2"})", "9"},
      {R"(nbdgw_scsi_tasks_held{export="vol2"})", "2"},
      {R"(nbdgw_scsi_tasks_queued{export="vol2"})", "7"},
      {R"(nbdgw_nbd_requests_total{export="vol2",command="trim"})", "6"},
      {R"(nbdgw_nbd_errors_total{export="vol2",error="NBD_EIO"})", "7"},
      {R"(nbdgw_nbd_request_duration_seconds_count{export="vol2",command="flush"})", "1"},
      {R"(nbdgw_nbd_request_duration_seconds_bucket{export="vol2",command="flush",le="5e-05"})", "0"},
      {R"(nbdgw_nbd_request_duration_seconds_bucket{export="vol2",command="flush",le="0.0001"})", "1"},
      {R"(nbdgw_iscsi_session_state{session="array0",state="logged_in"})", "1"},
      {R"(nbdgw_iscsi_connections{session="array0"})", "1"},
      {R"(nbdgw_iscsi_connection_up{session="array0",cid="0"})", "0"},
      {R"(nbdgw_iscsi_connection_up{session="array0",cid="1"})", "1"},
      {R"(nbdgw_iscsi_pdus_sent_total{session="array0",opcode="scsi_command"})", "2"},
      {R"(nbdgw_iscsi_received_bytes_total{session="array0",cid="1"})", "48"},
      {R"(nbdgw_recovery_active{session="array0",rung="lu_reset"})", "1"},
      {R"(nbdgw_recovery_active{session="array0",rung="abort_task"})", "0"},
      {R"(nbdgw_recovery_rungs_total{session="array0",rung="abort_task",outcome="refused"})", "8"},
      {R"(nbdgw_recovery_duration_seconds_sum{session="array0",rung="abort_task"})", "2"},
      {R"(nbdgw_scsi_sense_total{session="array0",sense_key="medium_error"})", "9"},
      {R"(nbdgw_build_info{version="1.2.3"})", "1"},
      {R"(nbdgw_admin_changes_total{verb="drain",outcome="accepted"})", "3"},
      {R"(nbdgw_admin_changes_total{verb="drain",outcome="refused"})", "2"},
      {R"(nbdgw_admin_changes_total{verb="drain",outcome="dry_run"})", "1"},
      {"process_cpu_seconds_total", "1.25"},
      {R"(nbdgw_log_messages_total{level="warn"})", "11"},
      {"nbdgw_log_dropped_total", "12"},
      {R"(nbdgw_admin_refused_total{reason="wrong_token"})", "13"},
      {R"(nbdgw_admin_refused_total{reason="bad_host"})", "0"},
  };
  for (const auto& [series, value] : expected) {
    CAPTURE(series);
    CHECK(value_of(text, series) == value);
  }
}

TEST_CASE("metrics page: what is kept from the last scrape is what a new page would write") {
  MetricsPage kept;
  Snapshot now = snapshot();
  const auto check = [&] { CHECK(text_of(kept, now) == text_of_new(now)); };
  check();
  check();
  auto& shards = now.gateway.shards;
  shards[0].exports[1].counters.durations.read.add(123);
  shards[1].sessions[0].counters.statuses[0] = 5;
  check();
  SUBCASE("an export more, in the middle") {
    shards[0].exports.insert(shards[0].exports.begin() + 1, exported("new"));
    check();
    check();
  }
  SUBCASE("an export less") {
    shards[0].exports.erase(shards[0].exports.begin());
    check();
    CHECK(text_of(kept, now).find("vol0") == std::string::npos);
    shards[0].exports.push_back(exported("vol0"));  // and there again
    check();
  }
  SUBCASE("another order") {
    std::swap(shards[0], shards[1]);
    std::swap(shards[0].exports[0], shards[0].exports[1]);
    check();
  }
  SUBCASE("a session with more connections") {
    shards[0].sessions[0] = session("array0", 4);
    check();
    shards[0].sessions[0] = session("array0", 1);
    check();
  }
  SUBCASE("an HTTP status that has not been there before") {
    now.admin.answers[418] = 1;
    check();
  }
  SUBCASE("nothing is left") {
    now.gateway.shards.clear();
    check();
  }
}

TEST_CASE(
    "metrics page: written over in place it is what a new one would be, and answers on their way stay as they were") {
  std::mt19937_64 random = test::seeded_random();
  MetricsPage kept;
  Snapshot now = snapshot();
  std::vector<std::pair<SharedText, std::string>> held;
  for (int round = 0; round < 300; ++round) {
    change_something(now, random);
    SharedText page = kept.render(now);
    std::string text = text_of_new(now);
    REQUIRE(joined(page) == text);
    for (const auto& [shared, was] : held) REQUIRE(joined(shared) == was);
    if (random() % 4 == 0) held.emplace_back(std::move(page), std::move(text));
    if (random() % 8 == 0) held.clear();
  }
}

TEST_CASE("metrics page: log messages are counted by level") {
  spdlog::logger logger("counted", make_counting_sink());
  logger.set_level(spdlog::level::info);
  const LogCounts before = log_counts();
  logger.debug("below the level");
  logger.info("one");
  logger.warn("two");
  logger.warn("three");
  std::thread([&] { logger.error("from another thread"); }).join();
  logger.critical("counts as an error");
  const LogCounts after = log_counts();
  const std::array<std::uint64_t, 5> expected = {0, 0, 1, 2, 2};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CAPTURE(LogCounts::kLevels[i]);
    CHECK(after.messages[i] - before.messages[i] == expected[i]);
  }
}
