#include "gateway/admin/log_counts.hpp"

#include <spdlog/sinks/sink.h>

#include <algorithm>
#include <atomic>

#include "gateway/net/log.hpp"

namespace nbdgw::admin {

namespace {

std::array<std::atomic<std::uint64_t>, LogCounts::kLevels.size()> messages_by_level;

class CountingSink final : public spdlog::sinks::sink {
 public:
  void log(const spdlog::details::log_msg& message) override {
    // What is worse than an error counts as one.
    const auto level = std::min<std::size_t>(static_cast<std::size_t>(message.level), messages_by_level.size() - 1);
    messages_by_level[level].fetch_add(1, std::memory_order_relaxed);
  }
  void flush() override {}
  void set_pattern(const std::string&) override {}
  void set_formatter(std::unique_ptr<spdlog::formatter>) override {}
};

static_assert(spdlog::level::trace == 0 && spdlog::level::err == 4, "levels are places in LogCounts");

}  // namespace

std::shared_ptr<spdlog::sinks::sink> make_counting_sink() {
  return std::make_shared<CountingSink>();
}

LogCounts log_counts() noexcept {
  LogCounts copy;
  for (std::size_t i = 0; i < messages_by_level.size(); ++i)
    copy.messages[i] = messages_by_level[i].load(std::memory_order_relaxed);
  copy.dropped = net::log::dropped();
  return copy;
}

}  // namespace nbdgw::admin
