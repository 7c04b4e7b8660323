#include "gateway/net/mailbox.hpp"

#include <sys/eventfd.h>

#include <cerrno>
#include <system_error>

#include "proto/assert.hpp"

namespace nbdgw::net {

Mailbox::Mailbox(Poller& poller) : event_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (!event_ || !poller.add(event_.get(), EPOLLIN, *this)) {
    throw std::system_error(errno, std::system_category(), "eventfd");
  }
}

void Mailbox::push(std::unique_ptr<Job> job) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return;  // the job is destroyed behind the lock: it may post again
    first = jobs_.empty();
    jobs_.push_back(std::move(job));
  }
  if (!first) return;  // whoever came first has rung, and the shard has not looked yet
  const std::uint64_t one = 1;
  NBDGW_ASSERT(::write(event_.get(), &one, sizeof one) == sizeof one, "an eventfd takes 2^64 - 2 rings");
}

void Mailbox::close() {
  std::vector<std::unique_ptr<Job>> jobs;
  const std::lock_guard lock(mutex_);
  closed_ = true;
  jobs.swap(jobs_);
}

void Mailbox::on_ready(std::uint32_t, proto::Micros now) {
  std::uint64_t rings = 0;
  [[maybe_unused]] const ssize_t n = ::read(event_.get(), &rings, sizeof rings);
  std::vector<std::unique_ptr<Job>> jobs;
  {
    const std::lock_guard lock(mutex_);
    jobs.swap(jobs_);
  }
  for (const auto& job : jobs) job->run(now);
}

}  // namespace nbdgw::net
