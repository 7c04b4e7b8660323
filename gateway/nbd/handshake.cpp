#include "gateway/nbd/handshake.hpp"

#include <algorithm>
#include <array>

#include "gateway/nbd/validate.hpp"
#include "proto/assert.hpp"
#include "proto/bytes/endian.hpp"
#include "proto/nbd/messages.hpp"
#include "proto/nbd/meta_context.hpp"

namespace nbdgw::nbd {
namespace {

using namespace proto::nbd;

constexpr std::string_view kShutdown = "The server is shutting down.";
constexpr std::string_view kTakesNoData = "This option takes no data.";

std::string_view chars(std::span<const std::uint8_t> bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The begin of `text` that fits into a string of the protocol, not cut within a UTF-8 character.
std::string_view fitting(std::string_view text) noexcept {
  if (text.size() <= kMaxString) return text;
  std::size_t length = kMaxString;
  while (length > 0 && (static_cast<std::uint8_t>(text[length]) & 0xc0) == 0x80) --length;
  return text.substr(0, length);
}

}  // namespace

std::uint16_t transmission_flags(const ExportInfo& info, bool structured) noexcept {
  std::uint16_t flags = kFlagHasFlags;
  if (info.read_only) flags |= kFlagReadOnly;
  if (info.flush) flags |= kFlagSendFlush;
  if (info.fua) flags |= kFlagSendFua;
  if (info.rotational) flags |= kFlagRotational;
  if (info.trim && !info.read_only) flags |= kFlagSendTrim;
  if (info.write_zeroes && !info.read_only) flags |= kFlagSendWriteZeroes;
  if (structured) flags |= kFlagSendDf;
  if (info.multi_conn) flags |= kFlagCanMultiConn;
  return flags;
}

Handshake::Handshake(ExportDirectoryPtr directory, std::string& output, Counters& counters, proto::Micros timeout,
                     proto::Micros now)
    : directory_(std::move(directory)),
      output_(output),
      counters_(counters),
      timeout_(timeout),
      options_left_(kMaxOptions + directory_->size()),
      deadline_(now + timeout) {
  std::array<std::uint8_t, kGreetingLength> greeting;
  Greeting{.flags = kFlagFixedNewstyle | kFlagNoZeroes}.encode(greeting);
  output_.append(chars(greeting));
}

void Handshake::enter(State state) {
  NBDGW_ASSERT(state_ != State::done && state_ != State::closing, "the handshake is not over");
  NBDGW_ASSERT(state != State::client_flags, "client flags come first and once");
  state_ = state;
  if (state == State::done || state == State::closing) deadline_ = proto::kNever;
}

void Handshake::close(CloseReason reason) {
  close_reason_ = reason;
  enter(State::closing);
}

std::size_t Handshake::consume(std::span<const std::uint8_t> bytes, proto::Micros now) {
  switch (state_) {
    case State::client_flags:
      return take_client_flags(bytes);
    case State::options:
      return take_option(bytes, now);
    case State::waiting_for_export:
    case State::done:
    case State::closing:
      break;
  }
  return 0;
}

std::size_t Handshake::take_client_flags(std::span<const std::uint8_t> bytes) {
  if (bytes.size() < kClientFlagsLength) return 0;
  const std::uint32_t flags = proto::load_be32(bytes.data());
  if ((flags & ~(kFlagClientFixedNewstyle | kFlagClientNoZeroes)) != 0) {
    close(CloseReason::bad_client_flags);
    return kClientFlagsLength;
  }
  fixed_newstyle_ = (flags & kFlagClientFixedNewstyle) != 0;
  no_zeroes_ = (flags & kFlagClientNoZeroes) != 0;
  enter(State::options);
  return kClientFlagsLength;
}

std::size_t Handshake::take_option(std::span<const std::uint8_t> bytes, proto::Micros now) {
  if (bytes.size() < kOptionRequestLength) return 0;
  const auto header = OptionRequest::decode(bytes.first<kOptionRequestLength>());
  if (header.magic != kOptionMagic) {
    close(CloseReason::bad_option_magic);
    return kOptionRequestLength;
  }
  if (header.length > kMaxOptionLength) {
    close(CloseReason::option_too_long);
    return kOptionRequestLength;
  }
  const std::size_t length = kOptionRequestLength + header.length;
  if (bytes.size() < length) return 0;
  ++counters_.options;
  if (options_left_ == 0) {
    close(CloseReason::too_many_options);
    return length;
  }
  --options_left_;
  option_ = header.option;
  answer_option(bytes.subspan(kOptionRequestLength, header.length), now);
  return length;
}

void Handshake::answer_option(std::span<const std::uint8_t> data, proto::Micros now) {
  if (option_ == Option::abort) {  // data, if any, is to be ignored
    reply(Reply::ack);
    return close(CloseReason::client_abort);
  }
  if (draining_) return refuse_option(Reply::err_shutdown, CloseReason::export_name_at_shutdown, kShutdown);
  if (option_ == Option::export_name) return answer_export_name(data, now);
  if (!fixed_newstyle_)
    return reply_error(Reply::err_invalid, "Without the fixed newstyle flag EXPORT_NAME is the only option.");
  switch (option_) {
    case Option::info:
    case Option::go:
      return answer_info_or_go(data, now);
    case Option::list:
      return data.empty() ? answer_list() : reply_error(Reply::err_invalid, kTakesNoData);
    case Option::structured_reply:
      return data.empty() ? answer_structured_reply() : reply_error(Reply::err_invalid, kTakesNoData);
    case Option::starttls:
      return data.empty() ? reply_error(Reply::err_policy, "TLS is not configured on this server.")
                          : reply_error(Reply::err_invalid, kTakesNoData);
    case Option::extended_headers:
      return data.empty() ? reply_error(Reply::err_unsup, "Extended headers are not supported.")
                          : reply_error(Reply::err_invalid, kTakesNoData);
    case Option::list_meta_context:
      return answer_list_meta_context(data, now);
    case Option::set_meta_context:
      return reply_error(Reply::err_unsup, "Metadata contexts are not supported.");
    case Option::peek_export:
      return reply_error(Reply::err_unsup, "PEEK_EXPORT was withdrawn from the protocol.");
    case Option::export_name:
    case Option::abort:
      break;
  }
  reply_error(Reply::err_unsup, "Unknown option.");
}

void Handshake::answer_list() {
  for (const DirectoryEntry& entry : *directory_) {
    std::string data(sizeof(std::uint32_t), '\0');
    proto::store_be32(data.data(), static_cast<std::uint32_t>(entry.name.size()));
    data.append(entry.name).append(entry.description);
    reply(Reply::server, {reinterpret_cast<const std::uint8_t*>(data.data()), data.size()});
  }
  reply(Reply::ack);
}

void Handshake::answer_structured_reply() {
  if (structured_) return reply_error(Reply::err_invalid, "Structured replies are negotiated already.");
  structured_ = true;
  reply(Reply::ack);
}

void Handshake::answer_info_or_go(std::span<const std::uint8_t> data, proto::Micros now) {
  InfoRequest request;
  if (const char* wrong = parse_info_request(data, request)) return reply_error(Reply::err_invalid, wrong);
  requested_ = request.infos;
  want_export(request.export_name, now);
}

/// Also without structured replies, which the kernel's client has no use for: the protocol allows it (a server MAY
/// refuse), and the clients that ask are ours.
void Handshake::answer_list_meta_context(std::span<const std::uint8_t> data, proto::Micros now) {
  MetaContextRequest request;
  if (const char* wrong = parse_meta_context_request(data, request)) return reply_error(Reply::err_invalid, wrong);
  if (!request.ours()) return reply_error(Reply::err_unsup, "Metadata contexts are not supported.");
  identity_requested_ = request.identity;
  client_.token = request.token;
  client_.again = request.resumes;
  want_export(request.export_name, now);
}

void Handshake::answer_export_name(std::span<const std::uint8_t> data, proto::Micros now) {
  const std::string_view name = chars(data);
  if (check_export_name(name) != nullptr) return close(CloseReason::export_name_invalid);
  want_export(name, now);
}

void Handshake::want_export(std::string_view name, proto::Micros now) {
  if (name.empty()) {
    if (directory_->empty())
      return refuse_option(Reply::err_unknown, CloseReason::export_name_unknown,
                           "There is no default export: no export is configured.");
    name = directory_->front().name;
  }
  export_name_ = name;
  waiting_text_ = "The export is not available now.";
  wait_began_at_ = now;
  enter(State::waiting_for_export);
}

std::optional<std::string_view> Handshake::wants_export() const noexcept {
  if (state_ != State::waiting_for_export) return std::nullopt;
  return export_name_;
}

/// The time that the client waited for us is not counted as its own.
void Handshake::end_wait(proto::Micros now) {
  deadline_ = now + (deadline_ - wait_began_at_);
}

void Handshake::export_found(const ExportInfo& info, proto::Micros now) {
  if (state_ != State::waiting_for_export) return;
  end_wait(now);
  if (option_ == Option::export_name) {
    send_export_name_reply(info);
    return enter(State::done);
  }
  if (option_ == Option::list_meta_context) {
    send_contexts(info);
  } else {
    send_infos(info);
  }
  reply(Reply::ack);
  enter(option_ == Option::go ? State::done : State::options);
}

void Handshake::export_unknown(std::string_view text, proto::Micros now) {
  if (state_ != State::waiting_for_export) return;
  end_wait(now);
  refuse_option(Reply::err_unknown, CloseReason::export_name_unknown, text);
}

void Handshake::export_shut(std::string_view text, proto::Micros now) {
  if (state_ != State::waiting_for_export) return;
  end_wait(now);
  refuse_option(Reply::err_shutdown, CloseReason::export_name_at_shutdown, text);
}

void Handshake::export_waiting(std::string_view text) {
  if (state_ == State::waiting_for_export) waiting_text_ = text;
}

/// The option that names an export, or any other at shutdown, gets this error. EXPORT_NAME has no way to be told.
void Handshake::refuse_option(Reply error, CloseReason reason, std::string_view text) {
  if (option_ == Option::export_name) return close(reason);
  reply_error(error, text);
  enter(State::options);
}

void Handshake::begin_drain(proto::Micros now) {
  draining_ = true;
  if (state_ != State::waiting_for_export) return;
  end_wait(now);
  refuse_option(Reply::err_shutdown, CloseReason::export_name_at_shutdown, kShutdown);
}

void Handshake::on_deadline(proto::Micros now) {
  if (now < deadline_) return;
  switch (state_) {
    case State::client_flags:
    case State::options:
      return close(CloseReason::handshake_timeout);
    case State::waiting_for_export:
      deadline_ = now + timeout_;  // the client may do something else now
      return refuse_option(Reply::err_unknown, CloseReason::export_name_unknown, waiting_text_);
    case State::done:
    case State::closing:
      return;
  }
}

void Handshake::send_infos(const ExportInfo& info) {
  std::array<std::uint8_t, kInfoExportLength> about_export;
  InfoExport{.size = info.size, .flags = transmission_flags(info, structured_)}.encode(about_export);
  reply(Reply::info, about_export);

  const auto send_text = [this](Info type, std::string_view text) {
    std::string data(sizeof(std::uint16_t), '\0');
    proto::store_be16(data.data(), static_cast<std::uint16_t>(type));
    data.append(fitting(text));
    reply(Reply::info, {reinterpret_cast<const std::uint8_t*>(data.data()), data.size()});
  };
  if (requested_.name) send_text(Info::name, info.name);
  if (requested_.description && !info.description.empty()) send_text(Info::description, info.description);

  // A minimum above 1 is enforced, so it is told to those who did not ask, too.
  if (requested_.block_size || info.min_block > 1) {
    std::array<std::uint8_t, kInfoBlockSizeLength> sizes;
    InfoBlockSize{.minimum = info.min_block, .preferred = info.preferred_block, .max_payload = max_payload(info)}
        .encode(sizes);
    reply(Reply::info, sizes);
  }
}

void Handshake::send_contexts(const ExportInfo& info) {
  const auto send = [this](std::string_view name) {
    std::string data(sizeof(std::uint32_t), '\0');  // an identifier, which means nothing here
    data.append(fitting(name));
    reply(Reply::meta_context, {reinterpret_cast<const std::uint8_t*>(data.data()), data.size()});
  };
  if (identity_requested_) send(std::string(kIdentityContext).append("=").append(info.disk.word()));
}

void Handshake::send_export_name_reply(const ExportInfo& info) {
  std::array<std::uint8_t, sizeof(std::uint64_t) + sizeof(std::uint16_t)> data;
  proto::store_be64(&data[0], info.size);
  proto::store_be16(&data[8], transmission_flags(info, structured_));
  output_.append(chars(data));
  if (!no_zeroes_) output_.append(kExportNameZeroes, '\0');
}

void Handshake::reply(Reply type, std::span<const std::uint8_t> data) {
  std::array<std::uint8_t, kOptionReplyLength> header;
  OptionReply{.option = option_, .type = type, .length = static_cast<std::uint32_t>(data.size())}.encode(header);
  output_.append(chars(header));
  output_.append(chars(data));
}

void Handshake::reply_error(Reply type, std::string_view text) {
  ++counters_.option_errors;
  // nbd-client cuts the last byte off what it shows: let that be a full stop. Hence room for one byte is kept.
  std::string sentence(fitting(text.substr(0, kMaxString - 1)));
  if (sentence.empty() || sentence.back() != '.') sentence += '.';
  reply(type, {reinterpret_cast<const std::uint8_t*>(sentence.data()), sentence.size()});
}

}  // namespace nbdgw::nbd
