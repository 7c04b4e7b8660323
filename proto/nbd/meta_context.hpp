#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace nbdgw::proto::nbd {

/// Our own namespace of metadata contexts: anybody may have one that begins with "x-" (NBD protocol, "Metadata
/// querying"). Nothing in it can be selected by SET_META_CONTEXT; it is a way for a client of ours to ask, and to say
/// who it is, without anything that another server or client would stumble over.
inline constexpr std::string_view kOurContexts = "x-nbdgw:";
/// Asks which disk is behind the export. Told as "x-nbdgw:identity=TEXT".
inline constexpr std::string_view kIdentityContext = "x-nbdgw:identity";
/// "x-nbdgw:client=TOKEN": the client would make another connection if it lost this one, and say TOKEN again.
inline constexpr std::string_view kClientContext = "x-nbdgw:client=";
/// "x-nbdgw:resume=TOKEN": it was attached before, and has lost its connection.
inline constexpr std::string_view kResumeContext = "x-nbdgw:resume=";

/// Longest token, bytes.
inline constexpr std::size_t kMaxClientToken = 64;

/// The data of NBD_OPT_LIST_META_CONTEXT: a name's length (32 bits), the name, a count (32 bits), so many queries
/// with their length (32 bits) in front, and nothing behind. Of the queries only ours are kept.
struct MetaContextRequest {
  std::string_view export_name;  // points into the data
  bool identity = false;         // asked for by its name, or with all of our namespace
  std::string_view token;        // points into the data; empty: not said
  bool resumes = false;          // said with kResumeContext

  bool ours() const noexcept { return identity || !token.empty(); }
};

/// Returns what is wrong with it (a sentence for the client), or null and fills `out`.
const char* parse_meta_context_request(std::span<const std::uint8_t> data, MetaContextRequest& out) noexcept;

/// The option's data with these queries.
std::string meta_context_request(std::string_view export_name, std::span<const std::string> queries);

}  // namespace nbdgw::proto::nbd
