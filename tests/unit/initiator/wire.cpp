#include "tests/unit/initiator/wire.hpp"

#include <algorithm>
#include <boost/crc.hpp>

namespace nbdgw::test {

std::uint32_t other_crc32c(std::span<const std::uint8_t> bytes) {
  boost::crc_optimal<32, 0x1edc6f41, 0xffffffff, 0xffffffff, true, true> crc;
  crc.process_bytes(bytes.data(), bytes.size());
  return crc.checksum();
}

namespace {

void append_digest(Bytes& out, std::size_t begin) {
  const std::uint32_t crc = other_crc32c(std::span(out).subspan(begin));
  for (int i = 0; i < 4; ++i) out.push_back(static_cast<std::uint8_t>(crc >> (8 * i)));
}

void pad(Bytes& out) {
  while (out.size() % 4 != 0) out.push_back(0);
}

}  // namespace

Bytes to_bytes(const Pdu& pdu, bool header_digest, bool data_digest) {
  Bytes out(pdu.bhs.begin(), pdu.bhs.end());
  if (!pdu.ahs.empty()) out[4] = static_cast<std::uint8_t>((pdu.ahs.size() + 3) / 4);
  out.insert(out.end(), pdu.ahs.begin(), pdu.ahs.end());
  pad(out);
  if (header_digest) append_digest(out, 0);
  const std::size_t begin = out.size();
  out.insert(out.end(), pdu.data.begin(), pdu.data.end());
  pad(out);
  if (data_digest && !pdu.data.empty()) append_digest(out, begin);
  return out;
}

void PduCutter::feed(std::span<const std::uint8_t> bytes) {
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
}

bool PduCutter::check(std::size_t begin, std::size_t length) {
  const std::uint32_t crc = other_crc32c(std::span(bytes_).subspan(begin, length));
  for (std::size_t i = 0; i < 4; ++i) {
    if (bytes_[begin + length + i] != static_cast<std::uint8_t>(crc >> (8 * i))) return false;
  }
  return true;
}

bool PduCutter::next(Pdu& pdu) {
  if (bytes_.size() < 48) return false;
  const std::size_t ahs = std::size_t{bytes_[4]} * 4;
  const std::size_t data = (std::size_t{bytes_[5]} << 16) | (std::size_t{bytes_[6]} << 8) | bytes_[7];
  const std::size_t padded = (data + 3) / 4 * 4;
  const std::size_t at_data = 48 + ahs + (header_digest_ ? 4 : 0);
  const std::size_t whole = at_data + padded + (data_digest_ && data > 0 ? 4 : 0);
  if (bytes_.size() < whole) return false;
  if (header_digest_ && !check(0, 48 + ahs)) clean_ = false;
  if (data_digest_ && data > 0 && !check(at_data, padded)) clean_ = false;
  const auto at = [&](std::size_t offset) { return bytes_.begin() + static_cast<std::ptrdiff_t>(offset); };
  if (std::any_of(at(at_data + data), at(at_data + padded), [](std::uint8_t byte) { return byte != 0; })) {
    clean_ = false;
  }
  std::copy_n(bytes_.begin(), 48, pdu.bhs.begin());
  pdu.ahs.assign(at(48), at(48 + ahs));
  pdu.data.assign(at(at_data), at(at_data + data));
  bytes_.erase(bytes_.begin(), at(whole));
  return true;
}

Bytes to_text(const Keys& keys) {
  Bytes out;
  for (const auto& [key, value] : keys) {
    for (const std::string& part : {key, std::string("="), value}) out.insert(out.end(), part.begin(), part.end());
    out.push_back(0);
  }
  return out;
}

Keys to_keys(std::string_view text) {
  Keys keys;
  while (!text.empty()) {
    const std::string_view pair = text.substr(0, text.find('\0'));
    const std::size_t equals = pair.find('=');
    if (equals == std::string_view::npos) {
      keys.emplace_back(std::string(pair), "(no =)");
    } else {
      keys.emplace_back(std::string(pair.substr(0, equals)), std::string(pair.substr(equals + 1)));
    }
    text.remove_prefix(std::min(pair.size() + 1, text.size()));
  }
  return keys;
}

std::string value_of(const Keys& keys, std::string_view key) {
  for (const auto& [name, value] : keys) {
    if (name == key) return value;
  }
  return "(none)";
}

}  // namespace nbdgw::test
