#pragma once

#include <cstdint>
#include <string>

#include "tests/sim/client/nbd_link.hpp"
#include "tests/sim/timeline.hpp"

namespace nbdgw::sim {

class Client;

/// A request of a client, as it was sent last.
struct AskedRequest {
  NbdCommand command{};
  std::uint16_t flags = 0;
  std::uint64_t cell = 0;
  std::uint32_t cells = 0;
  std::uint64_t cookie = 0;
  std::uint64_t link = 0;  // NbdLink::id()
  Micros asked_at = 0;     // for the first time; later, if its link was given up
  Micros sent_at = 0;      // over that link
};

/// Is told what clients do and what they are told.
class ClientObserver {
 public:
  virtual void on_attached(const Client&, const NbdLink&) {}
  virtual void on_request(const Client&, const AskedRequest&) {}
  virtual void on_reply(const Client&, const AskedRequest&, std::uint32_t /*error*/) {}
  /// What was written there is acknowledged, and its oracle knows that.
  virtual void on_written(const Client&, std::uint64_t /*cell*/, std::uint64_t /*cells*/) {}
  virtual void on_lost(const Client&, const NbdLink&, const std::string& /*why*/) {}

 protected:
  ~ClientObserver() = default;
};

}  // namespace nbdgw::sim
