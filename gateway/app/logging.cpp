#include "gateway/app/logging.hpp"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <utility>

#include "gateway/admin/log_counts.hpp"
#include "gateway/net/log.hpp"
#include "gateway/net/log_queue.hpp"
#include "gateway/net/log_sink.hpp"

namespace nbdgw::app {

namespace {

/// At the end, for a reader that does not read: longer than a journal takes for what may wait, and short enough for
/// whoever waits for the process.
constexpr proto::Micros kPatience = proto::kSecond;
constexpr int kPatienceOfAbortMs = 500;

std::shared_ptr<net::log::Queue> queue;
std::atomic<const net::log::Queue*> queue_at_abort{nullptr};

/// The lines before a broken invariant are those that matter. The log's thread goes on while this waits; the second
/// abort is that of abort(3) itself.
extern "C" void on_abort(int) {
  if (const net::log::Queue* const lines = queue_at_abort.load()) lines->wait_written(kPatienceOfAbortMs);
}

void catch_abort() {
  struct sigaction action {};
  action.sa_handler = on_abort;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  ::sigaction(SIGABRT, &action, nullptr);
}

}  // namespace

Logging::Logging(const config::Log& log) {
  const config::LogFormat format = net::log::format_for(log.format, STDERR_FILENO, std::getenv("JOURNAL_STREAM"));
  queue = std::make_shared<net::log::Queue>(net::log::Outlet(STDERR_FILENO, format), net::log::tell_due);
  const spdlog::sinks_init_list sinks{net::log::make_queue_sink(queue), admin::make_counting_sink()};
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("nbdgw", sinks));
  net::log::set_level(log.level);
  queue_at_abort = queue.get();
  catch_abort();
}

Logging::~Logging() {
  finish_logging();
}

void finish_logging() noexcept {
  if (queue == nullptr) return;
  net::log::tell_all();
  queue_at_abort = nullptr;
  queue->finish(kPatience);  // it stays, for threads that still say something: that is counted as dropped
}

}  // namespace nbdgw::app
