#include "tests/sim/client/nbd_link.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "tests/sim/bytes.hpp"

namespace nbdgw::sim {
namespace {

// NBD protocol, "Handshake phase" and "Option types".
constexpr std::uint64_t kNbdMagic = 0x4e42444d41474943;
constexpr std::uint64_t kIHaveOpt = 0x49484156454f5054;
constexpr std::uint64_t kOptionReply = 0x0003e889045565a9;
constexpr std::uint32_t kRequest = 0x25609513;
constexpr std::uint32_t kSimpleReply = 0x67446698;
constexpr std::uint32_t kStructuredReply = 0x668e33ef;
constexpr std::uint32_t kOptGo = 7;
constexpr std::uint32_t kOptStructuredReply = 8;
constexpr std::uint32_t kRepAck = 1;
constexpr std::uint32_t kRepInfo = 3;
constexpr std::uint32_t kRepError = 0x80000000;
constexpr std::uint32_t kRepErrShutdown = 0x80000007;
constexpr std::uint16_t kChunkNone = 0;
constexpr std::uint16_t kChunkData = 1;
constexpr std::uint16_t kChunkHole = 2;
constexpr std::uint16_t kChunkError = 0x8000;
constexpr std::uint16_t kChunkDone = 1;

constexpr std::size_t kGreeting = 18;
constexpr std::size_t kOptionReplyHeader = 20;
constexpr std::size_t kSimpleHeader = 16;
constexpr std::size_t kChunkHeader = 20;
constexpr std::size_t kLongestText = 4096 + 16;

}  // namespace

void NbdLink::request(NbdCommand command, std::uint16_t flags, std::uint64_t cookie, std::uint64_t offset,
                      std::uint32_t length, const Piece& payload) {
  scratch_.clear();
  put<std::uint32_t>(scratch_, kRequest);
  put<std::uint16_t>(scratch_, flags);
  put<std::uint16_t>(scratch_, static_cast<std::uint16_t>(command));
  put<std::uint64_t>(scratch_, cookie);
  put<std::uint64_t>(scratch_, offset);
  put<std::uint32_t>(scratch_, length);
  wire_->send(scratch_);
  if (!payload.empty()) wire_->send(std::span(&payload, 1));
}

void NbdLink::drop(Goodbye how) {
  if (how == Goodbye::disconnect) request(NbdCommand::disc, 0, 0, 0, 0);
  Wire* const wire = std::exchange(wire_, nullptr);
  state_ = State::lost;
  if (how == Goodbye::reset) return wire->reset();
  if (how == Goodbye::vanish) return wire->vanish();
  wire->close();
}

void NbdLink::lose(const std::string& why, bool by_gateway) {
  if (state_ == State::lost) return;
  state_ = State::lost;
  wire_ = nullptr;
  owner_.on_lost(*this, why, by_gateway);
}

void NbdLink::nonsense(const std::string& what) {
  owner_.on_nonsense(*this, what);
  Wire* const wire = wire_;
  lose(what, false);
  wire->reset();
}

void NbdLink::on_end(Wire& wire, End how) {
  if (state_ == State::lost) return;
  if (!header_.empty() || !data_.empty()) {
    if (how == End::closed && !may_be_cut_off_)
      owner_.on_nonsense(*this, "the stream ends in the middle of a message");
  }
  lose(how == End::closed ? "closed by the gateway" : "reset", how == End::closed);
  if (how == End::closed) wire.close();
}

void NbdLink::on_bytes(Wire&, const Piece& piece, bool) {
  Piece bytes = piece;
  while (!bytes.empty() && state_ != State::lost) {
    if (!data_.empty()) {
      const std::size_t n = std::min(data_.size(), bytes.size());
      move(data_, bytes.first(n));
      data_ = data_.subspan(n);
      bytes = bytes.subspan(n);
      if (data_.empty()) end_of_data();
      continue;
    }
    const std::size_t n = std::min(wanted() - header_.size(), bytes.size());
    append(header_, bytes.first(n));
    bytes = bytes.subspan(n);
    if (header_.size() == wanted()) on_header();
  }
}

/// How long what is being collected is, as far as that is known.
std::size_t NbdLink::wanted() const noexcept {
  if (state_ == State::greeting) return kGreeting;
  if (state_ == State::options) return kOptionReplyHeader + body_;
  if (header_.size() < 4) return 4;
  const bool simple = get<std::uint32_t>(header_.data()) == kSimpleReply;
  return simple ? kSimpleHeader : kChunkHeader + body_;
}

void NbdLink::on_header() {
  if (state_ == State::greeting) return on_greeting();
  if (state_ == State::options) {
    body_ == 0 && get<std::uint32_t>(header_.data() + 16) > 0 ? on_option_reply() : on_option_body();
    return;
  }
  on_reply_header();
}

void NbdLink::on_greeting() {
  if (get<std::uint64_t>(header_.data()) != kNbdMagic || get<std::uint64_t>(header_.data() + 8) != kIHaveOpt) {
    return nonsense("the greeting is none");
  }
  header_.clear();
  state_ = State::options;
  std::vector<std::uint8_t> flags;
  put<std::uint32_t>(flags, 3);  // fixed newstyle, no zeroes
  wire_->send(flags);
  if (wishes_.structured) return send_option(kOptStructuredReply, {});
  ask_for_export();
}

void NbdLink::send_option(std::uint32_t option, std::span<const std::uint8_t> body) {
  std::vector<std::uint8_t> out;
  put<std::uint64_t>(out, kIHaveOpt);
  put<std::uint32_t>(out, option);
  put<std::uint32_t>(out, static_cast<std::uint32_t>(body.size()));
  out.insert(out.end(), body.begin(), body.end());
  wire_->send(out);
}

void NbdLink::ask_for_export() {
  std::vector<std::uint8_t> body;
  put<std::uint32_t>(body, static_cast<std::uint32_t>(wishes_.exported.size()));
  body.insert(body.end(), wishes_.exported.begin(), wishes_.exported.end());
  put<std::uint16_t>(body, 0);
  send_option(kOptGo, body);
}

void NbdLink::on_option_reply() {
  const auto length = get<std::uint32_t>(header_.data() + 16);
  if (get<std::uint64_t>(header_.data()) != kOptionReply)
    return nonsense("an option's reply without its magic number");
  if (length > kLongestText) return nonsense("an option's reply that is too long");
  body_ = length;
}

void NbdLink::on_option_body() {
  const auto option = get<std::uint32_t>(header_.data() + 8);
  const auto kind = get<std::uint32_t>(header_.data() + 12);
  const Bytes rest = header_.view().subspan(kOptionReplyHeader);
  const std::vector<std::uint8_t> body(rest.begin(), rest.end());
  header_.clear();
  body_ = 0;
  if (option == kOptStructuredReply && kind == kRepAck) return ask_for_export();
  if (option == kOptStructuredReply && kind != kRepErrShutdown) return nonsense("structured replies are refused");
  if ((kind & kRepError) != 0) {
    Wire* const wire = wire_;
    lose("refused: " + std::string(body.begin(), body.end()), true);
    return wire->close();
  }
  if (kind == kRepInfo && body.size() == 12 && get<std::uint16_t>(body.data()) == 0) {
    size_ = get<std::uint64_t>(body.data() + 2);
    flags_ = get<std::uint16_t>(body.data() + 10);
  }
  if (kind != kRepAck) return;
  state_ = State::attached;
  owner_.on_attached(*this, size_, flags_);
}

void NbdLink::on_reply_header() {
  const auto magic = get<std::uint32_t>(header_.data());
  if (header_.size() == 4) {
    if (magic != kStructuredReply && magic != kSimpleReply) nonsense("a reply without a magic number");
    if (magic == kStructuredReply && !wishes_.structured) nonsense("a structured reply that was not agreed on");
    return;  // the rest of the header is wanted now
  }
  magic == kSimpleReply ? on_simple_reply() : on_chunk();
}

void NbdLink::on_simple_reply() {
  error_ = get<std::uint32_t>(header_.data() + 4);
  cookie_ = get<std::uint64_t>(header_.data() + 8);
  header_.clear();
  last_ = true;
  const std::uint32_t length = error_ == 0 ? owner_.read_length(*this, cookie_) : 0;
  if (state_ == State::lost) return;
  if (length == 0) return owner_.on_reply(*this, cookie_, error_);
  if (wishes_.structured) return nonsense("a simple reply with data, though structured replies were agreed on");
  data_ = owner_.data_of(*this, cookie_, kFromStart, length);
}

void NbdLink::on_chunk() {
  const auto length = get<std::uint32_t>(header_.data() + 16);
  const auto type = get<std::uint16_t>(header_.data() + 6);
  if (header_.size() == kChunkHeader) {
    cookie_ = get<std::uint64_t>(header_.data() + 8);
    last_ = (get<std::uint16_t>(header_.data() + 4) & kChunkDone) != 0;
    if (type == kChunkData && length <= 8) return nonsense("a chunk of data without data");
    if (type == kChunkHole && length != 12) return nonsense("a chunk of a hole that has another length");
    if (type == kChunkNone && (length != 0 || !last_)) return nonsense("a chunk of nothing that is not the last");
    if (length > kLongestText && type != kChunkData) return nonsense("a chunk that is too long");
    body_ = type == kChunkData ? 8 : length;
    if (body_ > 0) return;  // it is wanted now
  }
  on_chunk_body();
}

void NbdLink::on_chunk_body() {
  const auto type = get<std::uint16_t>(header_.data() + 6);
  const auto length = get<std::uint32_t>(header_.data() + 16);
  const std::uint8_t* const body = header_.data() + kChunkHeader;
  error_ = 0;
  if ((type & kChunkError) != 0) error_ = get<std::uint32_t>(body);
  const std::uint64_t offset = type == kChunkData || type == kChunkHole ? get<std::uint64_t>(body) : 0;
  const std::uint32_t hole = type == kChunkHole ? get<std::uint32_t>(body + 8) : 0;
  header_.clear();
  body_ = 0;
  if (type == kChunkData) {
    data_ = owner_.data_of(*this, cookie_, offset, length - 8);
    return;
  }
  if (type == kChunkHole) owner_.on_hole(*this, cookie_, offset, hole);
  end_of_data();
}

void NbdLink::end_of_data() {
  if (last_ && state_ != State::lost) owner_.on_reply(*this, cookie_, error_);
}

}  // namespace nbdgw::sim
