// The whole way of a line: from who says it, through spdlog, to whoever reads it.
#include "gateway/net/log.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <sstream>

#include "gateway/net/log_queue.hpp"
#include "gateway/net/log_sink.hpp"

using namespace nbdgw;
using net::log::Level;

namespace {

/// The process's log, as JSON, while this lives.
class Captured {
 public:
  Captured() : before_(spdlog::default_logger()) {
    REQUIRE(::pipe2(ends_, O_CLOEXEC) == 0);
    queue_ = std::make_shared<net::log::Queue>(net::log::Outlet(ends_[1], config::LogFormat::json));
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("captured", net::log::make_queue_sink(queue_)));
  }
  ~Captured() {
    spdlog::set_default_logger(before_);
    queue_->finish(0);
    ::close(ends_[0]);
    ::close(ends_[1]);
  }
  /// All of it. No more than a pipe holds.
  std::vector<boost::json::object> lines() {
    queue_->finish(10 * proto::kSecond);
    ::fcntl(ends_[0], F_SETFL, O_NONBLOCK);
    std::string text;
    char buffer[4096];
    for (ssize_t n = 0; (n = ::read(ends_[0], buffer, sizeof buffer)) > 0;)
      text.append(buffer, static_cast<std::size_t>(n));
    std::vector<boost::json::object> found;
    std::istringstream stream(text);
    for (std::string each; std::getline(stream, each);) found.push_back(boost::json::parse(each).as_object());
    return found;
  }

 private:
  const std::shared_ptr<spdlog::logger> before_;
  int ends_[2] = {-1, -1};
  std::shared_ptr<net::log::Queue> queue_;
};

}  // namespace

TEST_CASE("log: subjects, levels and texts arrive") {
  Captured log;
  net::log::set_level(Level::info);
  CHECK(net::log::level() == Level::info);
  CHECK(net::log::is_wanted(Level::info));
  CHECK_FALSE(net::log::is_wanted(Level::debug));
  net::log::info({.exported = "vol0", .target = "array", .client = "10.0.0.1:1", .session = 3}, "one {}", 1);
  net::log::debug({}, "not wanted");
  net::log::warn({}, "two");
  net::log::error({.target = "array"}, "{}", "three\n{}");
  net::log::info({}, "{}", std::string(100'000, 'x'));
  const auto lines = log.lines();
  REQUIRE(lines.size() == 4);
  CHECK(lines[0].at("message") == "one 1");
  CHECK(lines[0].at("export") == "vol0");
  CHECK(lines[0].at("target") == "array");
  CHECK(lines[0].at("client") == "10.0.0.1:1");
  CHECK(lines[0].at("session") == 3);
  CHECK(lines[1].at("level") == "warn");
  CHECK_FALSE(lines[1].contains("target"));  // nothing stays of the one before
  CHECK(lines[2].at("level") == "error");
  CHECK(lines[2].at("message") == "three\n{}");
  CHECK(lines[3].at("message").as_string().size() < 4000);
}

TEST_CASE("log: what is counted comes before the change, and at the end") {
  Captured log;
  net::log::tell_all();  // of other tests
  const net::log::Subject who{.target = "test-of-changes"};
  for (int i = 0; i < 3; ++i) net::log::folded({"failed"}, who, Level::warn, "failed {}", i);
  net::log::changed("up", who, Level::info, "up");
  for (int i = 0; i < 9; ++i) {
    net::log::folded({"failed"}, who, Level::warn, "failed {}", i);
    net::log::changed("up", who, Level::info, "up");  // it flaps
  }
  net::log::tell_all();
  std::vector<std::string> texts;
  for (const auto& line : log.lines())
    if (line.contains("target") && line.at("target") == "test-of-changes")
      texts.emplace_back(line.at("message").as_string());
  CHECK(texts == std::vector<std::string>{"failed 0", "failed 2 (2 times more in 1 s)", "up",
                                          "failed 0 (once more in 1 s)", "up", "failed 1 (once more in 1 s)", "up",
                                          "failed 2 (once more in 1 s)", "up", "failed 8 (6 times more in 1 s)",
                                          "up (6 times more in 1 s)"});
}
