#include "gateway/net/log_sink.hpp"

#include <pthread.h>
#include <spdlog/sinks/sink.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <string_view>
#include <utility>

#include "gateway/net/log_queue.hpp"
#include "gateway/net/log_text.hpp"

namespace nbdgw::net::log {

namespace {

thread_local const Subject* subject_of_line = nullptr;

Line line_of(const spdlog::details::log_msg& message) {
  Line line;
  line.at = std::chrono::duration_cast<std::chrono::microseconds>(message.time.time_since_epoch()).count();
  // What is worse than an error is one.
  line.level = std::min(static_cast<Level>(message.level), Level::error);
  std::array<char, 16> name{};  // all that the kernel keeps
  ::pthread_getname_np(::pthread_self(), name.data(), name.size());
  line.thread = name.data();
  if (subject_of_line != nullptr) {
    line.exported = subject_of_line->exported;
    line.target = subject_of_line->target;
    line.client = subject_of_line->client;
    line.session = subject_of_line->session;
  }
  line.message = shortened(std::string_view(message.payload.data(), message.payload.size()), kMaxMessage);
  return line;
}

class QueueSink final : public spdlog::sinks::sink {
 public:
  explicit QueueSink(std::shared_ptr<Queue> queue) : queue_(std::move(queue)) {}

  /// Nothing is thrown: spdlog would tell of it on standard error, and wait for whoever reads there.
  void log(const spdlog::details::log_msg& message) override {
    try {
      queue_->put(line_of(message));
    } catch (const std::exception&) {
      note_dropped();  // no memory for it
    }
  }

  void flush() override {}
  void set_pattern(const std::string&) override {}
  void set_formatter(std::unique_ptr<spdlog::formatter>) override {}

 private:
  const std::shared_ptr<Queue> queue_;
};

static_assert(static_cast<int>(Level::trace) == spdlog::level::trace &&
                  static_cast<int>(Level::error) == spdlog::level::err,
              "levels have the same numbers");

}  // namespace

SubjectOfLine::SubjectOfLine(const Subject& subject) noexcept {
  subject_of_line = &subject;
}

SubjectOfLine::~SubjectOfLine() {
  subject_of_line = nullptr;
}

std::shared_ptr<spdlog::sinks::sink> make_queue_sink(std::shared_ptr<Queue> queue) {
  return std::make_shared<QueueSink>(std::move(queue));
}

}  // namespace nbdgw::net::log
