#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/target/pdu.hpp"
#include "tests/sim/target/target_connection.hpp"
#include "tests/sim/target/target_session.hpp"

namespace nbdgw::sim {

/// The login of a connection, at the target (RFC 7143 section 6.3). AuthMethod is None.
class TargetLogin {
 public:
  TargetLogin(Array& array, TargetConnection& connection) : array_(array), connection_(connection) {}

  /// The connection may be in full feature phase after it, or be dropped.
  void receive(const pdu::Request& request);

 private:
  struct Pair {
    std::string_view key;
    std::string_view value;
  };
  bool check_header(const pdu::Request& request);
  bool read_text();
  void check_key(std::string_view key);
  bool identify();
  bool admit();
  bool draw_refusal();
  void refuse_with_redirect(bool for_good);
  void negotiate();
  bool negotiate_session(const Pair& pair);
  bool negotiate_connection(const Pair& pair);
  void negotiate_digest(const Pair& pair, bool& agreed);
  void answer(bool transit);
  void finish();
  void refuse(std::uint16_t status);
  void respond(std::uint16_t status, bool transit);

  void add(std::string_view key, std::string_view value);
  void add(std::string_view key, std::uint32_t value) { add(key, std::to_string(value)); }
  const Pair* find(std::string_view key) const noexcept;
  std::uint32_t number_of(const Pair& pair, std::uint32_t least, std::uint32_t most);
  bool yes(const Pair& pair);
  bool leading() const noexcept { return tsih_ == 0; }

  Array& array_;
  TargetConnection& connection_;
  bool begun_ = false;
  bool identified_ = false;
  bool portal_told_ = false;
  bool declared_ = false;   // our MaxRecvDataSegmentLength
  bool prolonged_ = false;  // by a round of our own
  bool offered_ = false;    // keys that only a leading login may have
  std::uint8_t stage_ = 0;
  std::uint8_t next_stage_ = 0;
  std::uint16_t tsih_ = 0;
  std::uint16_t cid_ = 0;
  std::uint32_t itt_ = 0;
  std::uint32_t cmd_sn_ = 0;
  SessionIdentity identity_;
  SessionTerms session_;
  ConnectionTerms terms_;
  std::string in_;  // until it is complete
  std::string out_;
  std::vector<Pair> pairs_;
  std::vector<std::string> seen_;  // keys
};

}  // namespace nbdgw::sim
