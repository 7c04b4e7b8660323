#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "config/model.hpp"

/// What names may look like. Every function returns what is wrong with the name; empty: nothing is.
namespace nbdgw::config {

inline constexpr std::size_t kMaxIscsiName = 223;    // bytes, RFC 7143 section 4.2.7.1
inline constexpr std::size_t kMaxTargetName = 64;    // ours: it is a label in log lines and metrics
inline constexpr std::size_t kMaxExportName = 4096;  // bytes, NBD protocol "Values", strings
inline constexpr std::size_t kMaxDescription = 4096;

/// Whose name it is decides how strict we are: our own follows RFC 7143 to the letter; of a target's, whatever can be
/// sent in a login is taken, for arrays with capitals or underscores in their names exist.
enum class NameOf { initiator, target };

/// An iSCSI name: iqn.YYYY-MM.DOMAIN[:TEXT], eui.16HEX or naa.16HEX|32HEX (RFC 7143 section 4.2.7).
std::string check_iscsi_name(std::string_view name, NameOf whose);

/// The name of a target in this file: 1 to 64 of a-z, 0-9, '.', '_' and '-'.
std::string check_target_name(std::string_view name);

/// The name of an export: 1 to 4096 bytes of UTF-8 without control characters or spaces at the ends.
std::string check_export_name(std::string_view name);

/// A description: at most 4096 bytes of UTF-8 without control characters.
std::string check_description(std::string_view text);

/// The words for log levels, in the order of LogLevel.
inline constexpr std::array<std::string_view, 5> kLogLevels{"trace", "debug", "info", "warn", "error"};

/// nullopt: none of kLogLevels.
std::optional<LogLevel> parse_log_level(std::string_view word) noexcept;

/// The words for the forms of the log, in the order of LogFormat.
inline constexpr std::array<std::string_view, 4> kLogFormats{"auto", "text", "json", "journal"};

/// nullopt: none of kLogFormats.
std::optional<LogFormat> parse_log_format(std::string_view word) noexcept;

/// Well-formed UTF-8 (RFC 3629: shortest forms only, no surrogates).
bool is_utf8(std::string_view text) noexcept;

}  // namespace nbdgw::config
