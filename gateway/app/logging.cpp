#include "gateway/app/logging.hpp"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <memory>

#include "gateway/admin/log_counts.hpp"

namespace nbdgw::app {

namespace {

spdlog::level::level_enum to_spdlog(config::LogLevel level) {
  switch (level) {
    case config::LogLevel::trace:
      return spdlog::level::trace;
    case config::LogLevel::debug:
      return spdlog::level::debug;
    case config::LogLevel::info:
      return spdlog::level::info;
    case config::LogLevel::warn:
      return spdlog::level::warn;
    case config::LogLevel::error:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

/// "<6>" and the like: the priorities of sd-daemon(3).
class JournalMark : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override {
    char priority = '7';
    if (message.level == spdlog::level::info) priority = '6';
    if (message.level == spdlog::level::warn) priority = '4';
    if (message.level >= spdlog::level::err) priority = '3';
    out.push_back('<');
    out.push_back(priority);
    out.push_back('>');
  }

  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<JournalMark>(); }
};

}  // namespace

void set_up_logging(config::LogLevel level) {
  const spdlog::sinks_init_list sinks{std::make_shared<spdlog::sinks::stderr_color_sink_mt>(),
                                      admin::make_counting_sink()};
  auto logger = std::make_shared<spdlog::logger>("nbdgw", sinks);
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  if (std::getenv("JOURNAL_STREAM") != nullptr) {
    formatter->add_flag<JournalMark>('J').set_pattern("%J%v");
  } else {
    formatter->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
  }
  logger->set_formatter(std::move(formatter));
  logger->set_level(to_spdlog(level));
  spdlog::set_default_logger(std::move(logger));
}

void set_log_level(config::LogLevel level) {
  spdlog::set_level(to_spdlog(level));
}

}  // namespace nbdgw::app
