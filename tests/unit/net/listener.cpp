#include "gateway/net/listener.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/fsuid.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>

#include "tests/unit/sockets.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using config::Endpoint;

namespace {

/// A folder for sockets, removed at the end.
struct Folder {
  Folder() {
    char name[] = "/tmp/nbdgw-listener-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::filesystem::path path;
};

Endpoint tcp(std::uint16_t port) {
  return {.kind = Endpoint::Kind::tcp, .host = "127.0.0.1", .port = port, .path = {}};
}
Endpoint unix_socket(const std::string& path) {
  return {.kind = Endpoint::Kind::unix_socket, .host = {}, .port = 0, .path = path};
}

struct Control {
  net::Listener& listen(const Endpoint& endpoint) {
    auto& listener = listeners.emplace_back(std::make_unique<net::Listener>(
        io, endpoint, limit, [this](net::UniqueFd fd, net::ConnectionLimit::Ticket t) {
          accepted.emplace_back(std::move(fd), std::move(t));
        }));
    listener->start();
    return *listener;
  }
  std::string refusal(const Endpoint& endpoint) {
    try {
      net::Listener listener(io, endpoint, limit, {});
    } catch (const net::ListenError& error) {
      return error.what();
    }
    return {};
  }

  boost::asio::io_context io;
  net::ConnectionLimit limit{2};
  std::deque<std::pair<net::UniqueFd, net::ConnectionLimit::Ticket>> accepted;
  std::vector<std::unique_ptr<net::Listener>> listeners;
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// The peer has closed.
bool at_end(int fd) {
  char byte = 0;
  return ::recv(fd, &byte, 1, 0) == 0;
}

}  // namespace

TEST_CASE("a TCP listener on port 0 tells its port, and accepts") {
  Control control;
  net::Listener& listener = control.listen(tcp(0));
  REQUIRE(listener.port() != 0);
  CHECK(listener.address() == "tcp://127.0.0.1:" + std::to_string(listener.port()));
  const net::UniqueFd client = connect_tcp(listener.port());
  REQUIRE(client);
  while (control.accepted.empty()) control.io.run_one();
  CHECK(listener.counters().accepted == 1);
}

TEST_CASE("a port in use is an error that names it and says what to do") {
  Control control;
  const net::Listener& listener = control.listen(tcp(0));
  const std::string text = control.refusal(tcp(listener.port()));
  CHECK(contains(text, listener.address()));
  CHECK(contains(text, "listen.nbd"));
}

TEST_CASE("a UNIX listener: mode 0660, a stale socket is replaced, a live one is not, the file goes at the end") {
  const Folder folder;
  const std::string path = folder.path / "nbd.sock";
  Control control;
  {
    // A socket file that nobody listens on, as a killed gateway leaves it.
    const net::UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size());
    REQUIRE(::bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  }
  net::Listener& listener = control.listen(unix_socket(path));
  struct stat found {};
  REQUIRE(::stat(path.c_str(), &found) == 0);
  CHECK((found.st_mode & 07777) == net::kUnixSocketMode);
  CHECK(contains(control.refusal(unix_socket(path)), "another program answers"));

  const net::UniqueFd client = connect_unix(path);
  REQUIRE(client);
  while (control.accepted.empty()) control.io.run_one();

  listener.stop();
  CHECK(!std::filesystem::exists(path));
}

TEST_CASE("a UNIX socket is stale only if nobody can be there") {
  const Folder folder;
  std::filesystem::permissions(folder.path, std::filesystem::perms::all);  // whoever we are, it could be removed
  const std::string path = folder.path / "nbd.sock";
  Control control;
  const auto bound = [&](int type) {
    net::UniqueFd made(::socket(AF_UNIX, type, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.c_str(), path.size());
    REQUIRE(::bind(made.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    return made;
  };
  std::string text;
  SUBCASE("one that we may not connect to") {
    const net::UniqueFd live = bound(SOCK_STREAM);
    REQUIRE(::listen(live.get(), 1) == 0);
    REQUIRE(::chmod(path.c_str(), 0) == 0);
    ::setfsuid(65534);  // of this thread, and with it the power to do what the mode forbids
    text = control.refusal(unix_socket(path));
    ::setfsuid(::getuid());
    CHECK(contains(text, "Permission denied"));
    CHECK(contains(text, "ss -lxp"));
  }
  SUBCASE("one with a full queue") {
    const net::UniqueFd live = bound(SOCK_STREAM);
    REQUIRE(::listen(live.get(), 0) == 0);
    const net::UniqueFd queued = connect_unix(path);
    REQUIRE(queued);
    text = control.refusal(unix_socket(path));
    CHECK(contains(text, "another program answers"));
  }
  SUBCASE("one of datagrams, and one of packets") {
    for (const int type : {SOCK_DGRAM, SOCK_SEQPACKET}) {
      const net::UniqueFd live = bound(type);
      if (type == SOCK_SEQPACKET) REQUIRE(::listen(live.get(), 1) == 0);
      text = control.refusal(unix_socket(path));
      CHECK(contains(text, "another program answers"));
      CHECK(std::filesystem::exists(path));
      std::filesystem::remove(path);
    }
    const net::UniqueFd last = bound(SOCK_DGRAM);
    text = control.refusal(unix_socket(path));
  }
  CHECK(contains(text, path));
  CHECK(contains(text, "listen.nbd"));
  CHECK(std::filesystem::exists(path));
}

TEST_CASE("what is at a UNIX socket's path and is no socket is left alone, and told") {
  const Folder folder;
  const std::string path = folder.path / "nbd.sock";
  Control control;
  const auto refused = [&](const std::string& what) {
    const std::string text = control.refusal(unix_socket(path));
    CHECK(contains(text, path));
    CHECK(contains(text, what));
    CHECK(std::filesystem::symlink_status(path).type() != std::filesystem::file_type::not_found);
    std::filesystem::remove(path);
  };
  std::ofstream(path) << "precious";
  refused("a file of that name");
  std::filesystem::create_directory(path);
  refused("a folder of that name");
  std::filesystem::create_symlink(folder.path / "nobody", path);
  refused("a symbolic link of that name");
  std::filesystem::create_symlink(path, path);
  refused("a symbolic link of that name");
  net::Listener& live = control.listen(unix_socket(folder.path / "live.sock"));
  std::filesystem::create_symlink(folder.path / "live.sock", path);
  refused("a symbolic link of that name");
  live.stop();
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  refused("a file of that name");
  std::ofstream(folder.path / "file") << "no folder";
  CHECK(contains(control.refusal(unix_socket(folder.path / "file" / "nbd.sock")), "no folder"));
}

TEST_CASE("a UNIX listener leaves alone what is not its own") {
  const Folder folder;
  const std::string path = folder.path / "nbd.sock";
  Control control;
  std::ofstream(path) << "precious";
  CHECK(contains(control.refusal(unix_socket(path)), "no socket"));
  CHECK(std::filesystem::file_size(path) == 8);
  std::filesystem::remove(path);

  // Another program has put its socket there meanwhile: it stays.
  net::Listener& listener = control.listen(unix_socket(path));
  std::filesystem::rename(path, folder.path / "moved.sock");
  net::Listener& other = control.listen(unix_socket(path));
  listener.stop();
  CHECK(std::filesystem::exists(path));
  other.stop();
  CHECK(contains(control.refusal(unix_socket(folder.path / "no" / "such" / "folder.sock")), "make it first"));
  CHECK(contains(control.refusal(unix_socket(folder.path / std::string(200, 'x'))), "longer than"));
}

TEST_CASE("clients beyond the limit are closed at once, and there is room again when one has left") {
  Control control;
  net::Listener& listener = control.listen(tcp(0));
  std::vector<net::UniqueFd> clients;
  for (int i = 0; i < 3; ++i) clients.push_back(connect_tcp(listener.port()));
  while (listener.counters().over_limit == 0) control.io.run_one();
  CHECK(control.accepted.size() == 2);
  CHECK(at_end(clients[2].get()));

  control.accepted.pop_front();
  clients.push_back(connect_tcp(listener.port()));
  while (control.accepted.size() < 2) control.io.run_one();
  CHECK(listener.counters().over_limit == 1);
}

TEST_CASE("without descriptors a listener pauses, and goes on when there are some") {
  Control control;
  net::Listener& listener = control.listen(tcp(0));
  const net::UniqueFd client = connect_tcp(listener.port());
  REQUIRE(client);
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  // The lowest free descriptor is the first that must not be had.
  const net::UniqueFd probe(::open("/dev/null", O_RDONLY));
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(probe.get());
  ::setrlimit(RLIMIT_NOFILE, &none);
  while (listener.counters().out_of_fds == 0) control.io.run_one();
  ::setrlimit(RLIMIT_NOFILE, &before);
  CHECK(control.accepted.empty());
  while (control.accepted.empty()) control.io.run_one();
  CHECK(listener.counters().out_of_fds == 1);  // it slept, it did not spin
}

TEST_CASE("a socket that will never accept anybody again costs no processor time") {
  Control control;
  net::UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const std::uint16_t port = bind_loopback(socket.get());
  REQUIRE(::listen(socket.get(), 1) == 0);
  const net::UniqueFd same(::dup(socket.get()));
  net::Listener listener(control.io, tcp(port), control.limit, {}, {}, std::move(socket));
  listener.start();
  ::shutdown(same.get(), SHUT_RD);  // as systemd does with one whose unit is stopped
  CHECK(control.io.run_for(std::chrono::milliseconds(300)) < 10);
  CHECK(listener.counters().out_of_fds == 0);
}
