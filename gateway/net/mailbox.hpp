#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "gateway/net/poller.hpp"
#include "gateway/net/unique_fd.hpp"

namespace nbdgw::net {

/// How other threads talk to a shard: work is left here and the shard wakes up to do it. The only lock of a shard,
/// and not on the data path.
class Mailbox final : public Watcher {
 public:
  /// Throws std::system_error.
  explicit Mailbox(Poller& poller);

  /// From any thread. `work` is called as work(now) by the shard's thread, in the order of the posts; if the shard
  /// never runs again it is destroyed. It may be a callable that can only be moved.
  template <typename Work>
  void post(Work work) {
    push(std::make_unique<Letter<Work>>(std::move(work)));
  }

  /// The shard's thread ends: work that is left, and all that is still posted, is destroyed at once.
  void close();

  void on_ready(std::uint32_t events, proto::Micros now) override;

 private:
  struct Job {
    virtual ~Job() = default;
    virtual void run(proto::Micros now) = 0;
  };
  template <typename Work>
  struct Letter final : Job {
    explicit Letter(Work w) : work(std::move(w)) {}
    void run(proto::Micros now) override { work(now); }
    Work work;
  };

  void push(std::unique_ptr<Job> job);

  UniqueFd event_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Job>> jobs_;
  bool closed_ = false;
};

}  // namespace nbdgw::net
