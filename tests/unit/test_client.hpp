#pragma once

#include <cstdint>
#include <future>
#include <span>
#include <string>
#include <vector>

#include "gateway/net/connection_limit.hpp"
#include "gateway/net/unique_fd.hpp"
#include "gateway/shard/shard.hpp"
#include "proto/nbd/constants.hpp"
#include "tests/unit/sockets.hpp"

namespace nbdgw::test {

/// A blocking NBD client with simple replies, as plain as can be. Reads and writes give up after 10 s.
class TestClient {
 public:
  explicit TestClient(net::UniqueFd fd);

  /// Greeting and flags.
  bool greet();
  /// NBD_OPT_GO. The type of the last reply: ack, or an error whose text is in error_text().
  proto::nbd::Reply go(const std::string& name);
  void send_go(const std::string& name);
  proto::nbd::Reply read_go_reply();
  const std::string& error_text() const noexcept { return error_text_; }
  std::uint64_t size() const noexcept { return size_; }

  void send_request(proto::nbd::Command command, std::uint64_t cookie, std::uint64_t offset, std::uint32_t length,
                    std::span<const std::uint8_t> payload = {});
  /// A simple reply's header. False: the connection has ended.
  bool read_reply(std::uint64_t& cookie, std::uint32_t& error);
  /// Exactly that many bytes. False: the connection has ended before.
  bool read(std::span<std::uint8_t> to);
  bool write(std::span<const std::uint8_t> from);

  /// One request at a time; true if it succeeded.
  bool write_at(std::uint64_t offset, std::span<const std::uint8_t> data);
  bool read_at(std::uint64_t offset, std::span<std::uint8_t> data);

  int fd() const noexcept { return fd_.get(); }
  void close() { fd_.reset(); }
  /// As a crash would: the peer gets a reset.
  void reset();

 private:
  net::UniqueFd fd_;
  std::string error_text_;
  std::uint64_t size_ = 0;
};

/// What a client is let in with.
struct Entrance {
  nbd::ExportDirectoryPtr directory;
  nbd::ConnectionOptions options{};
};

/// Connects a client to a shard through a TCP connection of its own. `ticket` may be empty.
TestClient connect_to(shard::Shard& shard, const Entrance& entrance, net::ConnectionLimit::Ticket ticket = {});

/// The same through a UNIX socket.
TestClient connect_unix_to(shard::Shard& shard, const Entrance& entrance);

/// Runs `work` on the shard's thread and waits for its result.
template <typename Work>
auto on_shard(shard::Shard& shard, Work work) {
  std::promise<decltype(work())> promise;
  auto result = promise.get_future();
  shard.post([&promise, &work](proto::Micros) {
    if constexpr (std::is_void_v<decltype(work())>) {
      work();
      promise.set_value();
    } else {
      promise.set_value(work());
    }
  });
  return result.get();
}

}  // namespace nbdgw::test
