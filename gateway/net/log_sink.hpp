#pragma once

#include <memory>

#include "gateway/net/log.hpp"

namespace spdlog::sinks {
class sink;
}

namespace nbdgw::net::log {

class Queue;

/// Whom the lines are about that this thread writes while it lives: on its way to the sink a line goes through
/// spdlog, which knows of no subjects.
class SubjectOfLine {
 public:
  explicit SubjectOfLine(const Subject& subject) noexcept;
  ~SubjectOfLine();
  SubjectOfLine(const SubjectOfLine&) = delete;
  SubjectOfLine& operator=(const SubjectOfLine&) = delete;
};

/// A sink of spdlog that puts all lines of the process into the queue, each with its time, thread and subject.
std::shared_ptr<spdlog::sinks::sink> make_queue_sink(std::shared_ptr<Queue> queue);

}  // namespace nbdgw::net::log
