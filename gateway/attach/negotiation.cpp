#include "gateway/attach/negotiation.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "proto/bytes/endian.hpp"
#include "proto/nbd/meta_context.hpp"

namespace nbdgw::attach {
namespace {

using namespace proto::nbd;

constexpr const char* kNotOurs =
    "is no nbdgw, which alone tells which disk it has: attach others with nbd-client, which cannot outlive them";

std::string_view chars(std::span<const std::uint8_t> bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// What a server says goes to a log and to a terminal.
std::string printable(std::string_view text) {
  std::string out(text.substr(0, 200));
  std::ranges::replace_if(
      out, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }, '?');
  return out;
}

}  // namespace

Negotiation::Negotiation(std::string export_name, std::string token, Purpose purpose)
    : export_name_(std::move(export_name)), token_(std::move(token)), purpose_(purpose) {}

std::size_t Negotiation::consume(std::span<const std::uint8_t> bytes) {
  if (state_ != State::running) return 0;
  return step_ == Step::greeting ? take_greeting(bytes) : take_reply(bytes);
}

std::size_t Negotiation::take_greeting(std::span<const std::uint8_t> bytes) {
  if (bytes.size() < kGreetingLength) return 0;
  const Greeting greeting = Greeting::decode(bytes.first<kGreetingLength>());
  if (greeting.init_password != kInitPassword || greeting.option_magic != kOptionMagic) {
    refuse("is no NBD server of today");
  } else if ((greeting.flags & kFlagFixedNewstyle) == 0) {
    refuse(kNotOurs);
  } else {
    std::array<std::uint8_t, kClientFlagsLength> flags;
    proto::store_be32(flags.data(), kFlagClientFixedNewstyle | (greeting.flags & kFlagNoZeroes));
    output_.append(chars(flags));
    ask_for_contexts();
  }
  return kGreetingLength;
}

std::size_t Negotiation::take_reply(std::span<const std::uint8_t> bytes) {
  if (bytes.size() < kOptionReplyLength) return 0;
  const OptionReply header = OptionReply::decode(bytes.first<kOptionReplyLength>());
  if (header.magic != kOptionReplyMagic || header.option != asked_ || header.length > kMaxReply) {
    refuse("answers what was not asked: the connection is out of step");
    return kOptionReplyLength;
  }
  const std::size_t length = kOptionReplyLength + header.length;
  if (bytes.size() < length) return 0;
  on_reply(header, bytes.subspan(kOptionReplyLength, header.length));
  return length;
}

void Negotiation::on_reply(const OptionReply& header, std::span<const std::uint8_t> data) {
  switch (header.type) {
    case Reply::ack:
      return on_ack();
    case Reply::meta_context:
      return on_context(data);
    case Reply::info:
      return on_info(data);
    default:
      break;
  }
  constexpr std::uint32_t kErrorBit = 0x80000000;
  if ((static_cast<std::uint32_t>(header.type) & kErrorBit) == 0) return;  // more than was asked for
  on_error(header.type, chars(data));
}

void Negotiation::on_context(std::span<const std::uint8_t> data) {
  constexpr std::size_t kIdentifier = 4;
  if (step_ != Step::contexts || data.size() < kIdentifier) return refuse("tells something that cannot be read");
  const std::string_view name = chars(data.subspan(kIdentifier));
  if (!name.starts_with(kIdentityContext)) return;
  const std::string_view rest = name.substr(kIdentityContext.size());
  if (!rest.starts_with('=')) return;
  told_identity_ = true;
  offer_.identity = printable(rest.substr(1));
}

void Negotiation::on_info(std::span<const std::uint8_t> data) {
  if (step_ != Step::infos || data.size() < sizeof(std::uint16_t))
    return refuse("tells something that cannot be read");
  switch (static_cast<Info>(proto::load_be16(data.data()))) {
    case Info::export_: {
      if (data.size() != kInfoExportLength) return refuse("tells a size that cannot be read");
      const InfoExport info = InfoExport::decode(data.first<kInfoExportLength>());
      offer_.size = info.size;
      offer_.flags = info.flags;
      told_size_ = true;
      return;
    }
    case Info::block_size: {
      if (data.size() != kInfoBlockSizeLength) return refuse("tells block sizes that cannot be read");
      offer_.block = InfoBlockSize::decode(data.first<kInfoBlockSizeLength>()).minimum;
      return;
    }
    case Info::name:
    case Info::description:
      return;
  }
}

void Negotiation::on_ack() {
  switch (step_) {
    case Step::contexts:
      return told_identity_ ? ask_for_infos() : refuse(kNotOurs);
    case Step::infos:
      if (!told_size_) return refuse("does not tell the size of the export");
      if (purpose_ != Purpose::ask) {
        state_ = State::agreed;
      } else {
        step_ = Step::farewell;
        ask(Option::abort, {});
      }
      return;
    case Step::farewell:
      state_ = State::agreed;
      return;
    case Step::greeting:
      return;
  }
}

void Negotiation::on_error(Reply type, std::string_view text) {
  if (step_ == Step::farewell) return on_ack();
  // Whoever knows the option and not the export says so.
  const bool of_export = type == Reply::err_unknown || type == Reply::err_shutdown || type == Reply::err_policy;
  if (step_ == Step::contexts && !of_export) return refuse(kNotOurs);
  if (type == Reply::err_tls_reqd) return refuse("wants TLS, which the kernel's client cannot do");
  refuse(text.empty() ? "refuses without a reason" : "says: " + printable(text));
}

void Negotiation::ask(Option option, std::string_view data) {
  asked_ = option;
  std::array<std::uint8_t, kOptionRequestLength> header;
  OptionRequest{.option = option, .length = static_cast<std::uint32_t>(data.size())}.encode(header);
  output_.append(chars(header));
  output_.append(data);
}

void Negotiation::ask_for_contexts() {
  step_ = Step::contexts;
  const std::string_view who = purpose_ == Purpose::resume ? kResumeContext : kClientContext;
  const std::array<std::string, 2> queries{std::string(kIdentityContext), std::string(who) + token_};
  ask(Option::list_meta_context,
      meta_context_request(export_name_, std::span(queries).first(token_.empty() ? 1 : 2)));
}

void Negotiation::ask_for_infos() {
  step_ = Step::infos;
  std::string data(sizeof(std::uint32_t), '\0');
  proto::store_be32(data.data(), static_cast<std::uint32_t>(export_name_.size()));
  data += export_name_;
  std::array<std::uint8_t, 4> wanted;
  proto::store_be16(&wanted[0], 1);
  proto::store_be16(&wanted[2], static_cast<std::uint16_t>(Info::block_size));
  data.append(chars(wanted));
  ask(purpose_ == Purpose::ask ? Option::info : Option::go, data);
}

void Negotiation::refuse(std::string reason) {
  if (state_ != State::running) return;
  state_ = State::refused;
  reason_ = std::move(reason);
}

}  // namespace nbdgw::attach
