#include "gateway/attach/keeper.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <chrono>
#include <utility>

#include "gateway/attach/first_of.hpp"
#include "gateway/net/clock.hpp"
#include "gateway/net/log.hpp"
#include "gateway/net/stream_socket.hpp"

namespace nbdgw::attach {

namespace asio = boost::asio;
namespace log = net::log;

namespace {

constexpr std::string_view kPrefix = "nbdgw:";

using Descriptor = asio::posix::stream_descriptor;

asio::awaitable<void> readable(Descriptor& descriptor) {
  co_await descriptor.async_wait(Descriptor::wait_read, asio::use_awaitable);
}

asio::awaitable<void> readable(Descriptor& one, Descriptor& other) {
  auto first = readable(one);
  auto second = readable(other);
  co_await first_of(std::move(first), std::move(second));
}

}  // namespace

std::string kernel_identity(const Record& record) {
  return fmt::format("{}{}:{}", kPrefix, record.exported, record.held.identity);
}

std::string export_of(const std::string& kernel_identity) {
  if (!kernel_identity.starts_with(kPrefix)) return "";
  const std::string rest = kernel_identity.substr(kPrefix.size());
  return rest.substr(0, rest.rfind(':'));
}

Keeper::Keeper(asio::io_context& io, NbdControl& control, BlockDevice device, Source source, RecordFile& file,
               Record record, LinkWatch link)
    : io_(io),
      control_(control),
      device_(std::move(device)),
      source_(std::move(source)),
      file_(file),
      record_(std::move(record)),
      link_(std::move(link)),
      news_(io, ::dup(control.descriptor())),
      known_dead_(!link_.is_there()) {}

asio::awaitable<void> Keeper::keep() {
  while (!detached()) {
    if (known_dead_) {
      co_await bring_back();
    } else {
      auto death = wait_for_death();
      auto growth = ask_for_growth();
      co_await first_of(std::move(death), std::move(growth));
    }
  }
  log::info({.exported = record_.exported}, "{} was detached by somebody else", device_.path());
}

/// Ends when the kernel says so, or our own hold on the socket; offers the socket again while it is young.
asio::awaitable<void> Keeper::wait_for_death() {
  asio::posix::stream_descriptor death(io_, ::dup(link_.descriptor()));
  while (!known_dead_) {
    const proto::Micros again = offers_.at();
    auto something = readable(news_, death);
    auto time = sleep_until(again);
    co_await first_of(std::move(something), std::move(time));
    const bool told = control_.take_news(device_.index());
    const proto::Micros now = net::steady_now();
    if (link_.dead()) {
      known_dead_ = true;
    } else if (told) {
      // Of the connection before, or of one that we do not know: if it was that, ours was not taken yet.
      offers_.begin(now);
    } else if (now >= again) {
      offers_.on_offered();
      hand_over(link_.native(), 0);
    }
  }
  log::warn({.exported = record_.exported},
            "the connection of {} to the gateway has died: requests wait, and another one is made", device_.path());
}

asio::awaitable<void> Keeper::bring_back() {
  const proto::Micros since = net::steady_now();
  RetryTimes times;
  times.begin(since);
  complained_.clear();
  co_await sleep_until(since + kDetachSeen);
  while (known_dead_ && !detached()) {
    co_await sleep_until(times.at());
    const Call call{.address = next_address(),
                    .export_name = source_.exported,
                    .token = record_.token,
                    .purpose = Negotiation::Purpose::resume,
                    .connect_limit = kConnectLimit,
                    .handshake_limit = kHandshakeLimit};
    CallResult reply = co_await dial(call);
    const proto::Micros now = net::steady_now();
    if (reply.trouble.empty()) reply.trouble = obstacle(record_.held, reply.offer);
    if (!reply.trouble.empty()) {
      complain(reply.trouble);
      if (reply.refused || reply.socket)
        times.on_refusal(now);
      else
        times.on_failure(now);
      continue;
    }
    if (!offer(std::move(reply))) {
      times.on_refusal(now);
      continue;
    }
    log::info({.exported = record_.exported}, "{} is connected again after {:.1f} s", device_.path(),
              static_cast<double>(now - since) / proto::kSecond);
  }
}

/// The kernel gets a connection. False: it does not take it.
bool Keeper::offer(CallResult reply) {
  const std::uint64_t size = reply.offer.size > record_.held.size ? reply.offer.size : 0;
  if (!hand_over(reply.socket.get(), size)) return false;
  if (size != 0) take_size(size);
  link_ = LinkWatch(std::move(reply.socket));
  known_dead_ = false;
  offers_.begin(net::steady_now());
  return true;
}

bool Keeper::hand_over(int socket, std::uint64_t size) {
  const int error =
      control_.reconfigure(device_.index(), {.socket = socket, .size = size, .identity = kernel_identity(record_)});
  if (error == 0) return true;
  complain(fmt::format("the kernel does not take it: {}", net::error_text(error)));
  return false;
}

void Keeper::take_size(std::uint64_t size) {
  log::info({.exported = record_.exported}, "{} has grown from {} to {} bytes", device_.path(), record_.held.size,
            size);
  record_.held.size = size;
  file_.write(record_);
}

/// NBD has no message for it: a second connection asks.
asio::awaitable<void> Keeper::ask_for_growth() {
  for (;;) {
    co_await sleep_until(net::steady_now() + kAskInterval);
    const Call call{.address = source_.addresses[at_],
                    .export_name = source_.exported,
                    .token = {},
                    .purpose = Negotiation::Purpose::ask,
                    .connect_limit = kConnectLimit,
                    .handshake_limit = kConnectLimit};
    const CallResult reply = co_await dial(call);
    // Another disk, or none: the connection that there is serves the one that it was made for.
    if (!reply.trouble.empty() || !obstacle(record_.held, reply.offer).empty()) continue;
    if (reply.offer.size > record_.held.size && hand_over(-1, reply.offer.size)) take_size(reply.offer.size);
  }
}

asio::awaitable<void> Keeper::sleep_until(proto::Micros at) {
  asio::steady_timer timer(io_);
  if (at == proto::kNever)
    timer.expires_at(std::chrono::steady_clock::time_point::max());
  else
    timer.expires_after(std::chrono::microseconds(std::max<proto::Micros>(0, at - net::steady_now())));
  co_await timer.async_wait(asio::use_awaitable);
}

/// The same again and again is said once.
void Keeper::complain(const std::string& what) {
  if (what == complained_) return;
  complained_ = what;
  log::warn({.exported = record_.exported}, "{} waits: {}", device_.path(), what);
}

bool Keeper::detached() const {
  return device_.identity() != kernel_identity(record_);
}

const config::Endpoint& Keeper::next_address() noexcept {
  at_ = next_at_;
  next_at_ = (next_at_ + 1) % source_.addresses.size();
  return source_.addresses[at_];
}

}  // namespace nbdgw::attach
