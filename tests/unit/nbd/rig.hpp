#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "gateway/nbd/connection.hpp"
#include "tests/unit/nbd/fake_backend.hpp"

namespace nbdgw::test {

/// A connection with a shell that the test drives: bytes in, bytes out, exports found by name.
class Rig {
 public:
  static constexpr std::size_t kAll = ~std::size_t{0};

  explicit Rig(const nbd::ConnectionOptions& options = {}, std::size_t segment_length = 4096);
  /// Goes on with a connection that another rig has kept, on a disk of its own.
  explicit Rig(const nbd::KeptConnection& kept, const nbd::ConnectionOptions& options = {});
  virtual ~Rig();

  /// Gives the bytes to the connection, at most `piece` at a time, and serves it after each piece. Returns how many
  /// it took.
  std::size_t feed(std::string_view bytes, std::size_t piece = kAll);
  /// Answers what the handshake asks, lets the backend complete (if `automatic`), takes what is to be sent.
  void serve();
  /// Takes what is to be sent now, at most `piece` bytes at a time.
  void send(std::size_t piece = kAll);
  /// What came out since the last call.
  std::string take();
  void disconnect() { connection.on_disconnected(now); }

  proto::Micros now = 1'000'000;
  FakeBackend backend;
  std::map<std::string, std::string> waiting;  // exports that are not there yet, and why
  std::map<std::string, std::string> shut;     // exports that take no new clients, and why
  nbd::ExportDirectoryPtr directory;
  int told = 0;  // by the bell; what the test asks of the connection by feed(), serve() and send() is looked at there
  proto::Bell bell{[](void* rig) noexcept { ++static_cast<Rig*>(rig)->told; }, this};
  bool automatic = true;
  nbd::Connection connection;
  std::string output;

 private:
  void hang_bell();
};

/// One dialogue: all that the client says, all that the server says, and how it ends.
struct Script {
  std::string client;
  std::string server;
  nbd::CloseReason end = nbd::CloseReason::none;
};

/// Runs the script in one piece, one byte at a time, in pieces of seven, and with the client gone after each byte (of
/// one that is longer than 1 MiB: so at its beginning and its end, and with the client gone at 200 places).
/// `prepare` may set up the rig.
void check_script(const Script& script, const std::function<void(Rig&)>& prepare = {});

/// The transmission flags of the rig's export, as it comes, without structured replies.
inline constexpr std::uint16_t kRigFlags = 0x16d;

/// A plain handshake, and what it is answered; with simple or with structured replies.
std::string attach(bool structured);
std::string attached(bool structured, std::uint16_t flags = kRigFlags);

}  // namespace nbdgw::test
