#include "proto/nbd/meta_context.hpp"

#include <algorithm>

#include "proto/bytes/endian.hpp"
#include "proto/nbd/constants.hpp"
#include "proto/nbd/option_payload.hpp"

namespace nbdgw::proto::nbd {
namespace {

constexpr std::size_t kLengthField = 4;

/// Takes a length and so many bytes from the front. False: they are not all there.
bool take_string(std::span<const std::uint8_t>& from, std::string_view& out) noexcept {
  if (from.size() < kLengthField) return false;
  const std::size_t length = load_be32(from.data());
  if (length > from.size() - kLengthField) return false;
  out = {reinterpret_cast<const char*>(from.data()) + kLengthField, length};
  from = from.subspan(kLengthField + length);
  return true;
}

/// It comes back in an answer and in the log.
bool is_token(std::string_view text) noexcept {
  const auto allowed = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
  };
  return !text.empty() && text.size() <= kMaxClientToken && std::ranges::all_of(text, allowed);
}

}  // namespace

const char* parse_meta_context_request(std::span<const std::uint8_t> data, MetaContextRequest& out) noexcept {
  out = {};
  if (!take_string(data, out.export_name)) return "The export name does not fit into the option's data.";
  if (const char* wrong = check_export_name(out.export_name)) return wrong;
  if (data.size() < kLengthField) return "The option's data is too short for a number of queries.";
  const std::uint32_t count = load_be32(data.data());
  data = data.subspan(kLengthField);
  for (std::uint32_t i = 0; i < count; ++i) {
    std::string_view query;
    if (!take_string(data, query)) return "A query does not fit into the option's data.";
    if (query.size() > kMaxString) return "A query is longer than 4096 bytes.";
    if (query == kOurContexts || query == kIdentityContext) out.identity = true;
    const bool resumes = query.starts_with(kResumeContext);
    if (!resumes && !query.starts_with(kClientContext)) continue;
    out.resumes = resumes;
    out.token = query.substr(resumes ? kResumeContext.size() : kClientContext.size());
    if (!is_token(out.token)) return "The client's token has characters or a length that none has.";
  }
  return data.empty() ? nullptr : "The number of queries does not fit the option's length.";
}

std::string meta_context_request(std::string_view export_name, std::span<const std::string> queries) {
  std::string data;
  const auto put_length = [&data](std::size_t length) {
    data.append(kLengthField, '\0');
    store_be32(data.data() + data.size() - kLengthField, static_cast<std::uint32_t>(length));
  };
  put_length(export_name.size());
  data += export_name;
  put_length(queries.size());
  for (const std::string& query : queries) {
    put_length(query.size());
    data += query;
  }
  return data;
}

}  // namespace nbdgw::proto::nbd
