#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

/// Text keys: lists of `key=value` pairs, each ended by a NUL (RFC 7143 section 6.1).
namespace nbdgw::proto::iscsi {

inline constexpr std::size_t kMaxKeyLength = 63;
inline constexpr std::size_t kMaxValueLength = 8192;
/// Name of an initiator or a target, bytes (RFC 7143 section 4.2.7.1).
inline constexpr std::size_t kMaxNameLength = 223;
/// All pairs of one request or response together, over all PDUs that continue it (C bit). Our limit: the RFC sets
/// none.
inline constexpr std::size_t kMaxTextLength = 64 * 1024;

enum class TextError : std::uint8_t {
  none,
  not_terminated,  // the last pair lacks its NUL
  missing_equals,  // a pair without '=' (an empty pair too)
  bad_key,         // empty, longer than 63 bytes or with a character that a key may not have
  value_too_long,  // more than 8192 bytes
  bad_value,       // control characters
};

/// One line of text on what is wrong.
const char* describe(TextError error) noexcept;

struct KeyValue {
  std::string_view key;
  std::string_view value;
};

/// Goes through the pairs of a complete list (one data segment without the C bit, or what a TextAccumulator
/// gathered). Stops at the first thing that is wrong. Views point into the data.
class TextReader {
 public:
  explicit TextReader(std::string_view data) noexcept : rest_(data) {}
  explicit TextReader(std::span<const std::byte> data) noexcept
      : rest_(reinterpret_cast<const char*>(data.data()), data.size()) {}

  /// The next pair into `pair`. False at the end of the list, or with error() set.
  bool next(KeyValue& pair) noexcept;
  TextError error() const noexcept { return error_; }

  /// Looks at the whole list without using it.
  static TextError validate(std::string_view data) noexcept;

 private:
  bool fail(TextError error) noexcept;

  std::string_view rest_;
  TextError error_ = TextError::none;
};

/// Appends pairs to a buffer of fixed size. A pair that does not fit is left out whole, and overflowed() stays true.
class TextWriter {
 public:
  explicit TextWriter(std::span<char> buffer) noexcept : buffer_(buffer) {}

  bool add(std::string_view key, std::string_view value) noexcept;
  bool add_number(std::string_view key, std::uint64_t value) noexcept;
  bool add_boolean(std::string_view key, bool value) noexcept { return add(key, value ? "Yes" : "No"); }

  std::string_view text() const noexcept { return {buffer_.data(), size_}; }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  bool overflowed() const noexcept { return overflowed_; }
  void clear() noexcept {
    size_ = 0;
    overflowed_ = false;
  }

 private:
  std::span<char> buffer_;
  std::size_t size_ = 0;
  bool overflowed_ = false;
};

/// Gathers the data segments of a request or response that goes on over several PDUs (C bit), up to a limit.
class TextAccumulator {
 public:
  explicit TextAccumulator(std::size_t limit = kMaxTextLength) : limit_(limit) {}

  /// False, and nothing added, when the limit would be passed.
  bool append(std::string_view data);
  std::string_view text() const noexcept { return data_; }
  bool empty() const noexcept { return data_.empty(); }
  void clear() noexcept { data_.clear(); }

 private:
  std::string data_;
  std::size_t limit_;
};

/// Whether this may be an iSCSI name: "iqn.", "eui." or "naa." and what follows it, at most 223 bytes, no white
/// space, no control characters (RFC 7143 section 4.2.7). Stringprep is not applied.
bool is_iscsi_name(std::string_view name) noexcept;

}  // namespace nbdgw::proto::iscsi
