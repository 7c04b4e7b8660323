#include "gateway/target_host/server.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include <doctest/doctest.h>

#include "gateway/iscsi_target/memory_medium.hpp"
#include "gateway/net/clock.hpp"
#include "gateway/net/unique_fd.hpp"
#include "proto/iscsi/pdu.hpp"

using namespace nbdgw;
using proto::iscsi::Bhs;
using proto::iscsi::LoginStage;

namespace {

constexpr const char* kName = "iqn.2026-11.io.nbdgw:served";

struct Served {
  explicit Served(std::uint16_t port = 0) {
    target_host::TargetServerOptions options{.port = port, .target = {}, .faults = true};
    options.target.buffer_bytes = 64 << 20;
    options.target.targets.push_back({.name = kName, .alias = "", .luns = {}});
    options.target.targets[0].luns.push_back({.number = 1, .medium = &disk, .serial = ""});
    server = std::make_unique<target_host::TargetServer>(std::move(options));
  }
  iscsi_target::MemoryMedium disk{1 << 20};
  std::unique_ptr<target_host::TargetServer> server;

  void post(const iscsi_target::Fault& fault) {
    server->post([this, fault](proto::Micros now) { server->faults().add(fault, now); });
  }
};

/// A blocking socket that speaks a little iSCSI. Reads time out, so that a test fails instead of hanging.
class Client {
 public:
  explicit Client(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval limit{10, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    connected = ::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  template <typename P>
  void send(P pdu, const std::string& payload = {}) {
    if constexpr (requires { pdu.data_length; }) pdu.data_length = static_cast<std::uint32_t>(payload.size());
    Bhs bhs;
    pdu.encode(bhs);
    std::string bytes(bhs.begin(), bhs.end());
    bytes += payload;
    bytes.resize((bytes.size() + 3) / 4 * 4);
    CHECK(::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()));
  }
  /// False: the connection was closed.
  bool receive() {
    if (!read(header.data(), header.size())) return false;
    const auto length = proto::iscsi::Prefix::decode(header).data_length;
    data.resize(length + proto::iscsi::padding(length));
    if (!read(data.data(), data.size())) return false;
    data.resize(length);
    return true;
  }
  proto::iscsi::Opcode opcode() const {
    return static_cast<proto::iscsi::Opcode>(proto::iscsi::Prefix::decode(header).opcode);
  }
  void log_in() {
    send(proto::iscsi::LoginRequest{.transit = true,
                                    .current_stage = LoginStage::operational,
                                    .next_stage = LoginStage::full_feature,
                                    .isid = {0x80, 1, 2, 3, 4, 5},
                                    .itt = 1},
         std::string("InitiatorName=iqn.2026-11.io.nbdgw:client") + '\0' + "TargetName=" + kName + '\0');
    REQUIRE(receive());
    REQUIRE(proto::iscsi::LoginResponse::decode(header).status == proto::iscsi::LoginStatus::success);
  }

  bool connected = false;
  Bhs header{};
  std::string data;
  int end = -1;  // how the connection ended: 0 or an errno

 private:
  bool read(void* to, std::size_t length) {
    for (std::size_t done = 0; done < length;) {
      const ssize_t n = ::recv(fd_.get(), static_cast<char*>(to) + done, length - done, 0);
      if (n <= 0) {
        end = n == 0 ? 0 : errno;
        return false;
      }
      done += static_cast<std::size_t>(n);
    }
    return true;
  }
  net::UniqueFd fd_;
};

}  // namespace

TEST_CASE("target server: initiators come, talk and are told of the end") {
  Served served;
  CHECK(served.server->port() != 0);
  CHECK(served.server->address() == "127.0.0.1:" + std::to_string(served.server->port()));
  Client early(served.server->port());  // before start(): waits in the queue
  CHECK(early.connected);
  served.server->start();
  early.log_in();
  early.send(proto::iscsi::NopOut{.itt = 9}, std::string(5000, 'x'));
  REQUIRE(early.receive());
  CHECK(early.data == std::string(5000, 'x'));

  Client rude(served.server->port());
  rude.send(proto::iscsi::NopOut{.itt = 9});
  CHECK_FALSE(rude.receive());

  served.server->stop();
  REQUIRE(early.receive());
  CHECK(early.opcode() == proto::iscsi::Opcode::async_message);
  CHECK_FALSE(early.receive());
  CHECK_FALSE(Client(served.server->port()).connected);
  served.server->stop();
}

TEST_CASE("target server: 4 MiB that the initiator takes late, and leaving in the middle") {
  Served served;
  served.server->start();
  for (const bool leave : {false, true}) {
    Client client(served.server->port());
    client.log_in();
    const auto read = [&](std::uint32_t itt, std::uint32_t cmd_sn) {
      proto::iscsi::ScsiCommandPdu pdu{
          .read = true, .lun = 1ULL << 48, .itt = itt, .expected_length = 1 << 20, .cmd_sn = cmd_sn};
      pdu.cdb = {0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, 0x00};
      client.send(pdu);
    };
    read(1, 0);  // takes the unit attention
    REQUIRE(client.receive());
    for (std::uint32_t i = 1; i <= 32; ++i) read(1 + i, i);  // 32 MiB: more than socket buffers hold
    std::size_t total = 0;
    while (total < (leave ? 1u << 20 : 32u << 20)) {
      REQUIRE(client.receive());
      REQUIRE(client.opcode() == proto::iscsi::Opcode::data_in);
      total += client.data.size();
    }
  }
}

TEST_CASE(
    "target server: faults drop connections with a reset, or only stop sending, and delay answers in real time") {
  Served served;
  served.server->start();
  iscsi_target::Fault drop =
      iscsi_target::default_fault(iscsi_target::traits(iscsi_target::FaultKind::drop_connection));
  Client reset(served.server->port());
  reset.log_in();
  served.post(drop);
  CHECK_FALSE(reset.receive());
  CHECK(reset.end == ECONNRESET);

  drop.half_close = true;
  Client half(served.server->port());
  half.log_in();
  served.post(drop);
  CHECK_FALSE(half.receive());
  CHECK(half.end == 0);
  half.send(proto::iscsi::NopOut{.itt = 9});  // is taken; were the socket gone, this would bring a reset

  iscsi_target::Fault delay = iscsi_target::default_fault(iscsi_target::traits(iscsi_target::FaultKind::delay));
  delay.delay_ms = 100;
  served.post(delay);
  Client late(served.server->port());
  late.log_in();
  const auto begin = net::steady_now();
  late.send(proto::iscsi::ScsiCommandPdu{.lun = 1ULL << 48, .itt = 2});  // TEST UNIT READY
  REQUIRE(late.receive());
  CHECK(net::steady_now() - begin >= 100 * proto::kMillisecond);
  CHECK_FALSE(half.receive());
  CHECK(half.end == 0);
}

TEST_CASE("target server: a port that is taken, options that are wrong") {
  Served one;
  std::string why;
  try {
    Served two(one.server->port());
  } catch (const target_host::TargetError& e) {
    why = e.what();
  }
  CHECK(why.find("another program has the port") != std::string::npos);
  CHECK_THROWS_AS(target_host::TargetServer({}), target_host::TargetError);
}
