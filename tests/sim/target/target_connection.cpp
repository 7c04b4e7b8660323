#include "tests/sim/target/target_connection.hpp"

#include <algorithm>
#include <utility>

#include "tests/sim/target/array.hpp"
#include "tests/sim/target/digest.hpp"
#include "tests/sim/target/target_login.hpp"

namespace nbdgw::sim {

TargetConnection::TargetConnection(Array& array, Controller& controller, Line& line, std::uint32_t number)
    : array_(array),
      controller_(controller),
      line_(&line),
      number_(number),
      login_(std::make_unique<TargetLogin>(array, *this)),
      stat_sn_(static_cast<std::uint32_t>(array.random.next())) {
  answered_.fill(pdu::kNoTag);
}

TargetConnection::~TargetConnection() = default;

std::string TargetConnection::name() const {
  const std::string session = session_ != nullptr ? "session " + std::to_string(session_->number()) : "no session";
  return session + ", connection " + std::to_string(number_) + " (CID " + std::to_string(cid_) + ")";
}

/// How long the parts of the PDU are whose header is there; false: nobody can tell.
bool TargetConnection::measure() {
  const std::uint8_t* const bhs = head_.data();
  const std::size_t data = be24(bhs + 5);
  if (data > (session_ != nullptr ? array_.habits().segment : 8192)) {
    array_.checker.complain(*this, "a PDU with " + std::to_string(data) + " bytes of data: more than was declared");
    return false;
  }
  wanted_head_ = pdu::kHeader + std::size_t{bhs[4]} * 4 + (terms_.header_digest ? 4 : 0);
  wanted_data_ = data;
  wanted_tail_ = padded(data) - data + (terms_.data_digest && data > 0 ? 4 : 0);
  data_.restart(kCellBytes);
  return true;
}

void TargetConnection::take_in(ByteBuffer& to, std::size_t wanted, Piece& bytes) {
  const std::size_t part = std::min(wanted - to.size(), bytes.size());
  append(to, bytes.first(part));
  bytes = bytes.subspan(part);
}

/// The data of the PDU, once it is there: where it is, if it came in one piece and nothing more is needed.
Piece TargetConnection::take_data(Piece& bytes) {
  const std::size_t part = std::min(wanted_data_ - data_.size(), bytes.size());
  const Piece piece = bytes.first(part);
  bytes = bytes.subspan(part);
  if (part == wanted_data_ && bytes.size() >= wanted_tail_) return piece;
  if (data_.empty()) data_.restart(piece.kept, piece.begin % kCellBytes);
  data_.append(piece);
  return data_.view();
}

void TargetConnection::on_bytes(Piece bytes) {
  while (!bytes.empty() && !dead() && !leaving_) {
    if (wanted_head_ == 0) {
      take_in(head_, pdu::kHeader, bytes);
      if (head_.size() < pdu::kHeader) return;
      if (!measure()) return drop(Cut::reset);
    }
    take_in(head_, wanted_head_, bytes);
    if (head_.size() < wanted_head_) return;
    const Piece data = tail_.empty() ? take_data(bytes) : data_.view();
    if (data.size() < wanted_data_) return;
    take_in(tail_, wanted_tail_, bytes);
    if (tail_.size() < wanted_tail_) return;
    wanted_head_ = 0;
    take(data);
    head_.clear();
    tail_.clear();
  }
}

void TargetConnection::take(const Piece& data) {
  const std::uint8_t* const bytes = head_.data();
  const std::size_t ahs = std::size_t{bytes[4]} * 4;
  const pdu::Request request{.bhs = bytes, .ahs = {bytes + pdu::kHeader, ahs}, .data = data};
  if (!check_digests(request)) return;
  if (session_ == nullptr) {
    login_->receive(request);
  } else {
    session_->receive(*this, request);
  }
}

bool TargetConnection::check_digests(const pdu::Request& request) {
  const std::size_t header = pdu::kHeader + request.ahs.size();
  if (terms_.header_digest && crc_of(head_.view().first(header)) != read_digest(head_.data() + header)) {
    wrong_digest(request, "header");
    return false;
  }
  if (!terms_.data_digest || request.data.empty()) return true;
  const Bytes padding = tail_.view().first(tail_.size() - 4);
  if (crc_of(padding, crc_of(request.data.bytes())) == read_digest(tail_.data() + padding.size())) return true;
  wrong_digest(request, "data");
  return false;
}

void TargetConnection::wrong_digest(pdu::Request request, const char* which) {
  array_.checker.complain(*this,
                          "a wrong " + std::string(which) + " digest, opcode " + std::to_string(request.opcode()));
  drop(Cut::reset);
}

void TargetConnection::start(TargetSession& session, std::uint16_t cid) {
  session_ = &session;
  cid_ = cid;
  session.connections().push_back(this);
}

void TargetConnection::agree(const ConnectionTerms& terms) {
  terms_ = terms;
  watch_ = {.acknowledges = true, .exp_stat_sn = stat_sn_};
}

void TargetConnection::on_end(bool reset) {
  if (dead()) return;
  if (reset) {
    out_.clear();
    let_go(Cut::reset);
    return;
  }
  leaving_ = true;
  if (array_.faults.strikes(Fault::close_unanswered)) return;
  array_.executor.on_connection_leaving(*this);
  if (commands_ == 0) close_side();
}

void TargetConnection::close_side() {
  drop(array_.habits().closes_hard ? Cut::reset : Cut::close);
}

void TargetConnection::command_over() {
  if (--commands_ > 0 || !leaving_ || dead()) return;
  // Not in the middle of a step that ends commands.
  array_.after(0, [this_array = &array_, number = number_] {
    TargetConnection* const connection = this_array->find_connection(number);
    if (connection != nullptr) connection->close_side();
  });
}

void TargetConnection::drop(Cut cut) {
  if (dead()) return;
  if (cut == Cut::close) flush();
  if (!dead()) let_go(cut);
}

/// The line first: nothing of what follows may still be sent.
void TargetConnection::let_go(Cut cut) {
  Line& line = *std::exchange(line_, nullptr);
  switch (cut) {
    case Cut::close:
      line.close();
      break;
    case Cut::reset:
      line.reset();
      break;
    case Cut::vanish:
      line.vanish();
      break;
  }
  array_.wants_cleaning();
  TargetSession* const session = session_;
  if (session == nullptr) return;
  array_.functions.on_connection_lost(*this);
  session->on_connection_lost(*this);
  array_.executor.on_connection_lost(*this);
  std::erase(session->connections(), this);
  session_ = nullptr;
  // With its last connection a session ends: nothing is kept for a recovery at level 0.
  if (session->connections().empty() && !session->ended()) array_.end_session(*session, Cut::close);
}

void TargetConnection::half_close() {
  if (!dead()) line_->half_close();
}

void TargetConnection::stall(bool yes) {
  stalled_ = yes;
  disturbed_at_ = array_.now();
  if (!dead()) line_->stall(yes);
}

void TargetConnection::read(bool on) {
  disturbed_at_ = array_.now();
  if (!dead()) line_->read(on);
}

bool TargetConnection::remembers(std::uint32_t itt) const noexcept {
  return std::ranges::count(answered_, itt) > 0;
}

}  // namespace nbdgw::sim
