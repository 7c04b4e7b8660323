#include "gateway/attach/detach.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "gateway/net/clock.hpp"
#include "gateway/net/stream_socket.hpp"
#include "gateway/net/unique_fd.hpp"

namespace nbdgw::attach {
namespace {

/// A process of its own asks the kernel, as whoever asks may hang there and cannot be killed then.
class Asker {
 public:
  Asker(NbdControl& control, std::uint32_t index) : process_(::fork()) {
    if (process_ == 0) ::_exit(control.disconnect(index));
    if (process_ > 0) end_ = net::UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, process_, 0U)));
  }

  bool began() const noexcept { return static_cast<bool>(end_); }
  /// True: it has come to its end by then.
  bool wait(proto::Micros limit) {
    pollfd entry{.fd = end_.get(), .events = POLLIN, .revents = 0};
    return ::poll(&entry, 1, static_cast<int>(limit / proto::kMillisecond)) > 0;
  }
  int error() const {
    int status = 0;
    if (::waitpid(process_, &status, 0) != process_ || !WIFEXITED(status)) return EIO;
    return WEXITSTATUS(status);
  }

 private:
  pid_t process_;
  net::UniqueFd end_;
};

}  // namespace

std::string detach(NbdControl& control, const BlockDevice& device, const LinkWatch& link, proto::Micros limit) {
  const proto::Micros begin = net::steady_now();
  Asker asker(control, device.index());
  if (!asker.began()) return fmt::format("{} cannot be detached: no process is to be had for it", device.path());
  bool over = asker.wait(std::min(kCutAfter, limit));
  if (!over && link.is_there()) {
    link.shut_down();
    over = asker.wait(std::max<proto::Micros>(0, limit - (net::steady_now() - begin)) + proto::kSecond);
  } else if (!over) {
    over = asker.wait(std::max<proto::Micros>(0, limit - (net::steady_now() - begin)));
  }
  if (!over)
    return fmt::format(
        "{} is not detached yet: the gateway takes nothing from it; it is detached when the gateway "
        "goes on, or ends",
        device.path());
  const int error = asker.error();
  if (error != 0) return fmt::format("{} cannot be detached: {}", device.path(), net::error_text(error));
  return "";
}

bool is_claimed(const BlockDevice& device) {
  const net::UniqueFd claim(::open(device.path().c_str(), O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC));
  return !claim && errno == EBUSY;
}

}  // namespace nbdgw::attach
