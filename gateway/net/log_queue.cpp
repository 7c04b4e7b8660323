#include "gateway/net/log_queue.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#include "gateway/net/clock.hpp"

namespace nbdgw::net::log {

namespace {

constexpr proto::Micros kTick = proto::kSecond;
/// Lines that the thread takes at a time: those that it holds count for nothing in the queue's limits.
constexpr std::size_t kBatch = 64;
/// How much longer than its limit finish() waits for a thread that hangs in the system.
constexpr proto::Micros kGrace = 200 * proto::kMillisecond;

std::atomic<std::uint64_t> dropped_lines;  // of the process, which has one log

Line notice_of(std::uint64_t untold) {
  Line line;
  line.at = wall_now();
  line.level = Level::warn;
  line.thread = "log";
  line.message = fmt::format(
      "log: {} line(s) that belong here were dropped, as what reads the log did not take them in time "
      "(nbdgw_log_dropped_total)",
      untold);
  return line;
}

}  // namespace

std::uint64_t dropped() noexcept {
  return dropped_lines.load(std::memory_order_relaxed);
}

void note_dropped() noexcept {
  dropped_lines.fetch_add(1, std::memory_order_relaxed);
}

struct Queue::State {
  State(Outlet to, Tick every, QueueLimits most) : outlet(std::move(to)), tick(std::move(every)), limits(most) {}

  bool has_room(Level level) const noexcept {
    const bool important = level >= Level::warn;
    const auto part = [important](std::size_t limit) { return important ? limit : limit - limit / 4; };
    return lines.size() < part(limits.lines) && bytes < part(limits.bytes);
  }
  void push(Line line) {
    bytes += line.bytes();
    lines.push_back(std::move(line));
    unwritten.fetch_add(1, std::memory_order_relaxed);
  }
  void drop() noexcept {
    ++untold;
    note_dropped();
  }
  void tell_dropped() {
    if (untold == 0) return;
    push(notice_of(untold));
    untold = 0;
  }

  void run();
  bool take(std::deque<Line>& batch);
  void write(std::deque<Line>& batch) noexcept;

  Outlet outlet;  // of the thread
  const Tick tick;
  const QueueLimits limits;
  std::atomic<proto::Micros> give_up_at{proto::kNever};
  std::atomic<std::uint64_t> unwritten{0};

  std::mutex mutex;
  std::condition_variable wake;     // the thread
  std::condition_variable changed;  // who waits for its end
  std::deque<Line> lines;
  std::size_t bytes = 0;
  std::uint64_t untold = 0;  // dropped, and not told
  bool waiting = false;      // the thread has nothing to do
  bool ending = false;
  bool ended = false;
};

/// A signal is not for it, whoever starts it.
class Queue::Thread {
 public:
  explicit Thread(const std::shared_ptr<State>& state) {
    sigset_t all, before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([state] { state->run(); });
    ::pthread_setname_np(thread_.native_handle(), "log");  // from here: it has its name before it first runs
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  void join() { thread_.join(); }
  void detach() { thread_.detach(); }

 private:
  std::thread thread_;
};

Queue::Queue(Outlet outlet, Tick tick, QueueLimits limits)
    : state_(std::make_shared<State>(std::move(outlet), std::move(tick), limits)),
      thread_(std::make_unique<Thread>(state_)) {}

Queue::~Queue() {
  finish(0);
}

void Queue::put(Line line) noexcept {
  State& state = *state_;
  bool wake = false;
  {
    const std::lock_guard lock(state.mutex);
    try {
      if (state.ending || !state.has_room(line.level)) return state.drop();
      // Half empty again, so that a reader that is only slow does not get as many of these as of lines.
      if (state.lines.size() <= state.limits.lines / 2 && state.bytes <= state.limits.bytes / 2) state.tell_dropped();
      state.push(std::move(line));
    } catch (const std::exception&) {
      return state.drop();  // no memory for it
    }
    wake = state.waiting;
  }
  if (wake) state.wake.notify_one();
}

void Queue::finish(proto::Micros limit) {
  if (thread_ == nullptr) return;
  State& state = *state_;
  bool ended = false;
  {
    std::unique_lock lock(state.mutex);
    state.ending = true;
    state.give_up_at.store(steady_now() + limit, std::memory_order_relaxed);
    state.wake.notify_one();
    ended = state.changed.wait_for(lock, std::chrono::microseconds(limit + kGrace), [&state] { return state.ended; });
  }
  if (ended) {
    thread_->join();
  } else {
    thread_->detach();
  }
  thread_.reset();
}

void Queue::wait_written(int limit_ms) const noexcept {
  constexpr int kStepMs = 5;
  for (int waited = 0; waited < limit_ms && state_->unwritten.load(std::memory_order_relaxed) > 0; waited += kStepMs)
    ::poll(nullptr, 0, kStepMs);
}

void Queue::State::run() {
  proto::Micros ticked_at = steady_now();
  std::deque<Line> batch;
  while (take(batch)) {
    write(batch);
    const proto::Micros now = steady_now();
    const bool ends = give_up_at.load(std::memory_order_relaxed) != proto::kNever;
    if (!tick || ends || now < ticked_at + kTick) continue;  // whoever ends it has told all before
    ticked_at = now;
    tick(now);
  }
  const std::lock_guard lock(mutex);
  ended = true;
  changed.notify_all();
}

/// False: there is nothing left to write, and nothing comes any more.
bool Queue::State::take(std::deque<Line>& batch) {
  std::unique_lock lock(mutex);
  if (lines.empty()) tell_dropped();
  waiting = true;
  wake.wait_for(lock, std::chrono::microseconds(kTick), [this] { return !lines.empty() || ending; });
  waiting = false;
  while (!lines.empty() && batch.size() < kBatch) {
    bytes -= lines.front().bytes();
    batch.push_back(std::move(lines.front()));
    lines.pop_front();
  }
  return !batch.empty() || !ending;
}

void Queue::State::write(std::deque<Line>& batch) noexcept {
  for (const Line& line : batch) {
    // Nobody reads there any more, so nobody can be told.
    if (!outlet.put(line, give_up_at)) note_dropped();
    unwritten.fetch_sub(1, std::memory_order_relaxed);
  }
  batch.clear();
}

}  // namespace nbdgw::net::log
