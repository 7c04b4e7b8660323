#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proto/iscsi/pdu.hpp"

/// iSCSI PDUs as bytes, written and read by hand: what the tests put on the wire and find on it.
namespace nbdgw::test {

using Bytes = std::vector<std::uint8_t>;

/// One PDU, whole.
struct Pdu {
  proto::iscsi::Bhs bhs{};
  Bytes ahs;
  Bytes data;

  proto::iscsi::Opcode opcode() const { return static_cast<proto::iscsi::Opcode>(bhs[0] & 0x3f); }
  std::string_view text() const { return {reinterpret_cast<const char*>(data.data()), data.size()}; }
  template <typename Header>
  Header as() const {
    return Header::decode(bhs);
  }
};

/// A PDU from a header struct; the length fields are set from the data given here.
template <typename Header>
Pdu make_pdu(Header header, Bytes data = {}) {
  Pdu pdu;
  if constexpr (requires { header.data_length; }) header.data_length = static_cast<std::uint32_t>(data.size());
  header.encode(pdu.bhs);
  pdu.data = std::move(data);
  return pdu;
}

/// CRC32C of another library than the one that is tested, so that a mistake in its use does not hide in both ends.
std::uint32_t other_crc32c(std::span<const std::uint8_t> bytes);

/// A PDU's bytes with padding and digests.
Bytes to_bytes(const Pdu& pdu, bool header_digest, bool data_digest);

/// Cuts a stream of bytes into PDUs and checks digests and padding.
class PduCutter {
 public:
  void feed(std::span<const std::uint8_t> bytes);
  /// Digests from the next PDU on.
  void set_digests(bool header, bool data) {
    header_digest_ = header;
    data_digest_ = data;
  }
  bool next(Pdu& pdu);
  bool clean() const { return clean_; }
  std::size_t rest() const { return bytes_.size(); }

 private:
  bool check(std::size_t begin, std::size_t length);

  Bytes bytes_;
  bool header_digest_ = false;
  bool data_digest_ = false;
  bool clean_ = true;  // every digest and every padding byte so far was right
};

/// Text keys.
using Keys = std::vector<std::pair<std::string, std::string>>;
Bytes to_text(const Keys& keys);
Keys to_keys(std::string_view text);
/// The value of a key, or "(none)".
std::string value_of(const Keys& keys, std::string_view key);
inline std::string value_of(const Pdu& pdu, std::string_view key) {
  return value_of(to_keys(pdu.text()), key);
}

}  // namespace nbdgw::test
