#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <csignal>
#include <exception>
#include <fstream>
#include <optional>
#include <thread>
#include <utility>

#include "gateway/app/commands.hpp"
#include "gateway/app/logging.hpp"
#include "gateway/app/process.hpp"
#include "gateway/app/service_manager.hpp"
#include "gateway/attach/detach.hpp"
#include "gateway/attach/first_of.hpp"
#include "gateway/attach/keeper.hpp"
#include "gateway/net/clock.hpp"
#include "gateway/net/log.hpp"
#include "gateway/net/stream_socket.hpp"
#include "gateway/net/system_random.hpp"

namespace nbdgw::app {

namespace asio = boost::asio;
using namespace attach;

namespace {

constexpr std::uint64_t kForever = 10ULL * 365 * 24 * 3600;  // seconds; the kernel has no word for it
constexpr std::uint64_t kMaxSectorsKb = 1024, kReadAheadKb = 1024;
constexpr std::uint32_t kSmallestBlock = 512;
constexpr proto::Micros kPoll = 100 * proto::kMillisecond;

/// What carries a disk must not wait for one, nor be killed for memory that is written through it. Before there is a
/// thread: it is for each thread, and inherited. What is not permitted is told, and done without.
std::vector<std::string> harden() {
  std::vector<std::string> missing;
  if (std::string trouble = prepare_process(); !trouble.empty()) missing.push_back(std::move(trouble));
  if (::mlockall(MCL_CURRENT | MCL_FUTURE) != 0) missing.push_back("memory is not locked: " + net::error_text(errno));
  if (!(std::ofstream("/proc/self/oom_score_adj") << "-1000" << std::flush))
    missing.push_back("it may be chosen when memory runs out (oom_score_adj)");
  return missing;
}

std::string new_token() {
  std::array<std::uint8_t, 16> bytes;
  net::SystemRandom().fill(bytes);
  std::string token;
  for (const std::uint8_t byte : bytes) token += fmt::format("{:02x}", byte);
  return token;
}

/// A device that is attached and has nobody to keep it, of this export; the named one, or any.
std::optional<BlockDevice> find_orphan(const AttachOptions& options) {
  for (const std::uint32_t index : BlockDevice::all()) {
    BlockDevice device(index);
    if (options.device && *options.device != index) continue;
    if (export_of(device.identity()) != options.exported) continue;
    if (RecordFile(options.state_dir, device.name()).lock()) return device;
  }
  return std::nullopt;
}

/// What goes wrong before there is a device, in one line.
struct AttachError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Attachment {
 public:
  Attachment(const AttachOptions& options, NbdControl& control) : options_(options), control_(control) {}

  int run() {
    int result = kFailed;
    std::exception_ptr failure;
    asio::co_spawn(
        io_, [&]() -> asio::awaitable<void> { result = co_await live(); },
        [&failure](std::exception_ptr thrown) { failure = std::move(thrown); });
    io_.run();
    if (failure) std::rethrow_exception(failure);
    return result;
  }

 private:
  static asio::awaitable<void> signal_in(asio::signal_set& set) { co_await set.async_wait(asio::use_awaitable); }

  asio::awaitable<int> live() {
    asio::signal_set stop(io_, SIGINT, SIGTERM);
    auto beginning = begin();
    auto early = signal_in(stop);
    if (co_await first_of(std::move(beginning), std::move(early)) == 1)
      co_return kSuccess;  // nothing is attached yet
    RecordFile& file = *file_;
    Keeper keeper(io_, control_, *device_, {options_.addresses, options_.exported}, file, record_, std::move(link_));
    tell_ready();
    auto keeping = keeper.keep();
    auto told = signal_in(stop);
    const std::size_t ended = co_await first_of(std::move(keeping), std::move(told));
    if (!options_.ready_file.empty()) ::unlink(options_.ready_file.c_str());
    if (ended == 1) {
      use_.reset();  // held open by us alone, the device ends with it
      if (const std::string wrong = detach(control_, *device_, keeper.link(), options_.give_up_after); !wrong.empty())
        throw AttachError(wrong);
      net::log::info({.exported = options_.exported}, "{} is detached", device_->path());
    }
    file.clear();
    co_return kSuccess;
  }

  /// Finds the device that a keeper before has left, or makes one.
  asio::awaitable<void> begin() {
    if (auto orphan = find_orphan(options_)) {
      take_over(*std::move(orphan));
      co_return;
    }
    if (options_.device && BlockDevice(*options_.device).in_use())
      throw AttachError(fmt::format("{} is in use: choose another device, or detach it with nbdgw attach --detach",
                                    BlockDevice(*options_.device).path()));
    record_.token = new_token();
    CallResult reply = co_await first_reply();
    make(std::move(reply));
  }

  void take_over(BlockDevice device) {
    lock(device);
    record_ = file_->read().value_or(Record{});
    if (kernel_identity(record_) != device.identity()) {
      // Made by nobody that we know: nothing is known of what it may rely on, so the gateway has to assume all.
      record_ = {.exported = options_.exported, .token = new_token(), .held = {}};
      const std::string identity = device.identity();
      record_.held.identity = identity.substr(identity.rfind(':') + 1);
      record_.held.size = device.size();
    }
    file_->write(record_);
    device_ = std::move(device);
    net::log::info({.exported = options_.exported}, "{} is kept again", device_->path());
  }

  void lock(const BlockDevice& device) {
    file_.emplace(options_.state_dir, device.name());
    if (!file_->lock())
      throw AttachError(fmt::format("{} is kept by another nbdgw attach (pid {})", device.path(), file_->keeper()));
  }

  /// A gateway that is not there yet is waited for; its refusal is final.
  asio::awaitable<CallResult> first_reply() {
    const proto::Micros since = net::steady_now();
    std::size_t turn = 0;
    for (bool told = false;; told = true) {
      const Call call{.address = options_.addresses[turn++ % options_.addresses.size()],
                      .export_name = options_.exported,
                      .token = record_.token,
                      .purpose = Negotiation::Purpose::go,
                      .connect_limit = kConnectLimit,
                      .handshake_limit = std::max(options_.wait, kConnectLimit)};
      CallResult reply = co_await dial(call);
      if (reply.trouble.empty()) co_return reply;
      const bool late = net::steady_now() - since >= options_.wait;
      if (reply.refused || late) throw AttachError(reply.trouble);
      if (!told) net::log::info({.exported = options_.exported}, "waiting for the gateway: {}", reply.trouble);
      asio::steady_timer timer(io_, std::chrono::microseconds(RetryTimes::kLater));
      co_await timer.async_wait(asio::use_awaitable);
    }
  }

  void make(CallResult reply) {
    record_ = {.exported = options_.exported,
               .token = record_.token,
               .held = {.size = reply.offer.size,
                        .flags = reply.offer.flags,
                        .block = std::max(reply.offer.block, kSmallestBlock),
                        .identity = reply.offer.identity}};
    if (options_.device) lock(BlockDevice(*options_.device));
    NbdControl::Device wanted{.index = options_.device,
                              .socket = reply.socket.get(),
                              .size = record_.held.size,
                              .block = record_.held.block,
                              .flags = record_.held.flags,
                              .hold_s = options_.hold == proto::kNever
                                            ? kForever
                                            : static_cast<std::uint64_t>(options_.hold / proto::kSecond),
                              .ends_with_use = options_.with_use,
                              .identity = kernel_identity(record_)};
    std::uint32_t index = options_.device.value_or(0);
    if (const int error = control_.connect(wanted, index); error != 0)
      throw AttachError(fmt::format("the kernel does not attach it{}: {}",
                                    options_.device ? " to " + BlockDevice(index).path() : "",
                                    net::error_text(error)));
    device_.emplace(index);
    if (!options_.device) lock(*device_);
    file_->write(record_);
    prepare_device();
    link_ = LinkWatch(std::move(reply.socket));
    net::log::info({.exported = options_.exported}, "{} is {}, {} bytes", device_->path(), options_.exported,
                   record_.held.size);
  }

  void prepare_device() {
    const bool set = device_->set_io_timeout_ms(static_cast<std::uint64_t>(options_.resend / proto::kMillisecond)) &&
                     device_->set_max_sectors_kb(kMaxSectorsKb) && device_->set_read_ahead_kb(kReadAheadKb);
    if (!set)
      net::log::warn({.exported = options_.exported},
                     "/sys cannot be written here: after a loss requests are sent again 30 s later, not {} s",
                     options_.resend / proto::kSecond);
    // Else the first program that looks at the device and closes it would end it.
    if (options_.with_use) use_ = net::UniqueFd(::open(device_->path().c_str(), O_RDONLY | O_CLOEXEC));
  }

  void tell_ready() {
    ServiceManager::tell_ready(fmt::format("{} is {}", device_->path(), options_.exported));
    if (options_.ready_file.empty()) return;
    std::ofstream(options_.ready_file) << device_->path() << '\n';
  }

  const AttachOptions& options_;
  NbdControl& control_;
  asio::io_context io_{1};
  std::optional<BlockDevice> device_;
  std::optional<RecordFile> file_;
  Record record_;
  LinkWatch link_;
  net::UniqueFd use_;
};

int fail(const std::string& what) {
  fmt::print(stderr, "nbdgw: {}\n", what);
  return kFailed;
}

}  // namespace

int attach_command(const AttachOptions& options) {
  const std::vector<std::string> missing = harden();
  const Logging logging({.level = config::LogLevel::info, .format = options.log_format});
  for (const std::string& what : missing) net::log::warn({.exported = options.exported}, "{}", what);
  NbdControl control;
  if (const std::string wrong = control.open(); !wrong.empty()) return fail(wrong);
  try {
    return Attachment(options, control).run();
  } catch (const std::runtime_error& error) {
    return fail(error.what());
  }
}

int detach_command(const DetachOptions& options) {
  const BlockDevice device(options.device);
  if (!device.in_use()) return fail(fmt::format("{} is not attached", device.path()));
  if (!options.force && is_claimed(device)) {
    const std::string folder = device.find_mount();
    return fail(fmt::format("{} is in use{}: unmount it first, or lose what is not written with --force",
                            device.path(), folder.empty() ? "" : ", mounted on " + folder));
  }
  RecordFile file(options.state_dir, device.name());
  if (!file.lock()) {
    // Whoever keeps it has the connection, which may have to be cut.
    if (const int keeper = file.keeper(); keeper > 0) ::kill(keeper, SIGTERM);
    const proto::Micros until = net::steady_now() + options.give_up_after + proto::kSecond;
    while (device.in_use() && net::steady_now() < until)
      std::this_thread::sleep_for(std::chrono::microseconds(kPoll));
    return device.in_use() ? fail(fmt::format("{} is not detached yet: see the log of its keeper", device.path()))
                           : kSuccess;
  }
  NbdControl control;
  if (const std::string wrong = control.open(); !wrong.empty()) return fail(wrong);
  if (const std::string wrong = detach(control, device, LinkWatch(), options.give_up_after); !wrong.empty())
    return fail(wrong);
  file.clear();
  return kSuccess;
}

int list_attached_command(const std::filesystem::path& state_dir) {
  for (const std::uint32_t index : BlockDevice::all()) {
    const BlockDevice device(index);
    const std::string exported = export_of(device.identity());
    if (exported.empty()) continue;
    RecordFile file(state_dir, device.name());
    const bool kept = !file.lock();
    const std::string folder = device.find_mount();
    fmt::print("{}  {}  {} bytes  {}{}\n", device.path(), exported, device.size(),
               kept ? fmt::format("kept by pid {}", file.keeper()) : "kept by nobody",
               folder.empty() ? "" : "  on " + folder);
  }
  return kSuccess;
}

}  // namespace nbdgw::app
