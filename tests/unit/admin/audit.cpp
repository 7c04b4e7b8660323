#include "gateway/admin/audit.hpp"

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <set>
#include <sstream>
#include <string>

#include <doctest/doctest.h>

using namespace nbdgw::admin;

TEST_CASE("audit: a line for each change, which nobody can forge, and numbers") {
  std::ostringstream text;
  const auto before = spdlog::default_logger();
  auto logger = std::make_shared<spdlog::logger>("audit", std::make_shared<spdlog::sinks::ostream_sink_mt>(text));
  logger->set_pattern("%l %v");
  spdlog::set_default_logger(logger);
  Audit audit;
  audit.record({Verb::reset_lun, "target t LUN 1", true, "127.0.0.1:4711"}, ChangeOutcome::dry_run, "3 tasks");
  audit.record({Verb::drain, "x\"\nadmin: by=\"root", false, "unix"}, ChangeOutcome::refused, "no\\");
  spdlog::set_default_logger(before);
  CHECK(text.str() ==
        "info admin: by=\"127.0.0.1:4711\" verb=reset_lun object=\"target t LUN 1\" dry_run=true outcome=dry_run "
        "detail=\"3 tasks\"\n"
        "info admin: by=\"unix\" verb=drain object=\"x\\\"\\x0aadmin: by=\\\"root\" dry_run=false outcome=refused "
        "detail=\"no\\\\\"\n");
  CHECK(audit.count(Verb::reset_lun, ChangeOutcome::dry_run) == 1);
  CHECK(audit.count(Verb::reset_lun, ChangeOutcome::accepted) == 0);
  CHECK(audit.count(Verb::drain, ChangeOutcome::refused) == 1);
}

TEST_CASE("audit: names are names") {
  std::set<std::string> names;
  for (std::size_t i = 0; i < kVerbs; ++i) names.insert(to_string(static_cast<Verb>(i)));
  CHECK(names.size() == kVerbs);
  CHECK(names.count("?") == 0);
  CHECK(std::string(to_string(ChangeOutcome::accepted)) == "accepted");
}
