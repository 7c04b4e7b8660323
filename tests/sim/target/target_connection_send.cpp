// What a connection sends.
#include <algorithm>
#include <utility>

#include "tests/sim/target/array.hpp"
#include "tests/sim/target/digest.hpp"
#include "tests/sim/target/target_connection.hpp"

namespace nbdgw::sim {
namespace {

constexpr std::uint8_t kFinalFlag = 0x80;
constexpr std::uint8_t kOverflow = 0x04;
constexpr std::uint8_t kUnderflow = 0x02;
constexpr std::uint8_t kHasStatus = 0x01;

}  // namespace

void TargetConnection::stamp(pdu::Header& bhs, bool counts) {
  put_be32(&bhs[24], stat_sn_);
  if (counts) ++stat_sn_;
  if (session_ == nullptr) return;
  put_be32(&bhs[28], session_->exp_cmd_sn());
  put_be32(&bhs[32], session_->max_cmd_sn());
}

void TargetConnection::emit(pdu::Header& bhs, const Piece& data) {
  if (dead()) return;
  if (!std::exchange(dirty_, true)) array_.wants_flush(*this);
  put_be24(&bhs[5], static_cast<std::uint32_t>(data.size()));
  out_.append(Bytes(bhs));
  if (terms_.header_digest) {
    const bool wrong = array_.faults.strikes(Fault::header_digest_wrong);
    put_digest(out_.grow(4), crc_of(bhs) ^ (wrong ? 1U : 0U));
  }
  if (data.empty()) return;
  out_.append(data);
  out_.append_zeroes(padded(data.size()) - data.size());
  if (!terms_.data_digest) return;
  const bool wrong = array_.faults.strikes(Fault::data_digest_wrong);
  constexpr std::uint8_t kPadding[3] = {};
  const std::uint32_t crc = crc_of(Bytes(kPadding, padded(data.size()) - data.size()), crc_of(data.bytes()));
  put_digest(out_.grow(4), crc ^ (wrong ? 1U : 0U));
}

void TargetConnection::flush() {
  dirty_ = false;
  if (dead() || out_.empty() || controller_.is_frozen()) return;
  if (array_.faults.strikes(Fault::pdu_cut)) {
    const std::size_t part = array_.faults.random(Fault::pdu_cut).below(out_.size());
    line_->send(out_.first(part));
    out_.clear();
    return drop(Cut::close);
  }
  line_->send(out_.first(out_.size()));
  out_.clear();
}

void TargetConnection::respond(TargetCommand& command, const Ending& ending) {
  const std::uint32_t moved =
      command.writes ? command.wanted
                     : static_cast<std::uint32_t>(std::min<std::size_t>(ending.data.size(), command.expected));
  Residual residual;
  if (ending.data.size() > command.expected) {
    residual = {kOverflow, static_cast<std::uint32_t>(ending.data.size() - command.expected)};
  } else if (moved < command.expected && ending.tells_residual) {
    residual = {kUnderflow, command.expected - moved};
  } else if (command.excess > 0 && ending.completion.status == scsi::kGood) {
    residual = {kOverflow, command.excess};
  }
  const Piece data = command.reads ? ending.data.first(moved) : Piece();
  const bool plain = ending.completion.status == scsi::kGood && !ending.attaches_sense && !ending.target_failure;
  const bool with_status = plain && !data.empty() && array_.habits().status_with_data;
  if (!data.empty()) send_data_in(command, data, with_status, residual);
  if (!with_status) send_response(command, ending, residual);
  remember(command.origin.itt);
}

void TargetConnection::send_data_in(TargetCommand& command, const Piece& data, bool with_status,
                                    const Residual& residual) {
  const TargetHabits& habits = array_.habits();
  const std::uint32_t burst = session_->terms().max_burst;
  const std::uint32_t segment =
      habits.data_in_length != 0 ? std::min(habits.data_in_length, terms_.segment) : terms_.segment;
  std::uint32_t offset = 0;
  std::uint32_t in_sequence = 0;
  while (offset < data.size()) {
    const std::uint32_t length =
        std::min({segment, burst - in_sequence, static_cast<std::uint32_t>(data.size()) - offset});
    in_sequence += length;
    const bool last = offset + length == data.size();
    const bool ends_sequence = last || in_sequence == burst;
    if (ends_sequence) in_sequence = 0;
    const bool status = last && with_status;
    pdu::Header bhs = pdu::begin(pdu::kDataIn, command.origin.itt, ends_sequence ? kFinalFlag : 0);
    put_be32(&bhs[20], pdu::kNoTag);
    put_be32(&bhs[36], command.data_sn++);
    put_be32(&bhs[40], offset);
    if (status) {
      bhs[1] |= static_cast<std::uint8_t>(kHasStatus | residual.flags);
      put_be32(&bhs[44], residual.count);
      note_news(command, {});
    }
    stamp(bhs, status);
    if (!status) put_be32(&bhs[24], 0);  // without S the field is reserved
    emit(bhs, data.subspan(offset, length));
    offset += length;
  }
}

void TargetConnection::send_response(TargetCommand& command, const Ending& ending, const Residual& residual) {
  pdu::Header bhs = pdu::begin(pdu::kScsiResponse, command.origin.itt);
  bhs[1] |= residual.flags;
  bhs[2] = ending.target_failure ? 1 : 0;
  bhs[3] = ending.completion.status;
  put_be32(&bhs[36], command.data_sn);
  put_be32(&bhs[44], residual.count);
  note_news(command, ending.completion);
  stamp(bhs, true);
  const bool sense = ending.completion.status == scsi::kCheckCondition || ending.attaches_sense;
  emit(bhs, sense ? sense_data(ending.completion.sense) : Bytes());
}

/// The length, and sense data in one of its two formats (SPC-5 4.5).
Bytes TargetConnection::sense_data(const scsi::Sense& sense) {
  scratch_.clear();
  const bool descriptors = array_.habits().descriptor_sense;
  const std::size_t length = descriptors ? 8 : 18;
  scratch_.append_zeroes(2 + length);
  put_be16(scratch_.data(), static_cast<std::uint32_t>(length));
  std::uint8_t* at = scratch_.data() + 2;
  if (descriptors) {
    at[0] = sense.deferred ? 0x73 : 0x72;
    at[1] = sense.key;
    at[2] = sense.asc;
    at[3] = sense.ascq;
  } else {
    at[0] = sense.deferred ? 0x71 : 0x70;
    at[2] = sense.key;
    at[7] = 10;
    at[12] = sense.asc;
    at[13] = sense.ascq;
  }
  return scratch_.view();
}

void TargetConnection::note_news(TargetCommand& command, const Completion& completion) {
  if (command.unit == nullptr) return;
  News news = command.unit->news_of(command, completion);
  // Ended by a reset, say, it tells of the reset and of nothing else.
  if (command.lost != nullptr && completion.status == scsi::kCheckCondition) {
    news.lost = command.lost;
    news.lost_from = news.lost_at = command.lost_at;
  }
  if (news.unit != nullptr || news.lost != nullptr) session_->told(news, *this, stat_sn_);
}

void TargetConnection::request_data(TargetCommand& command, const OpenR2t& r2t) {
  pdu::Header bhs = pdu::begin(pdu::kR2t, command.origin.itt);
  put_be64(&bhs[8], command.lun);
  put_be32(&bhs[20], r2t.ttt);
  put_be32(&bhs[36], command.data_sn++);
  put_be32(&bhs[40], r2t.offset);
  put_be32(&bhs[44], r2t.length);
  stamp(bhs, false);
  emit(bhs);
}

void TargetConnection::reject(std::uint8_t reason, const std::uint8_t* rejected) {
  pdu::Header bhs = pdu::begin(pdu::kReject, pdu::kNoTag);
  bhs[2] = reason;
  stamp(bhs, true);
  emit(bhs, Bytes(rejected, pdu::kHeader));
}

void TargetConnection::nop_in(std::uint32_t itt, const Piece& data) {
  pdu::Header bhs = pdu::begin(pdu::kNopIn, itt);
  put_be32(&bhs[20], pdu::kNoTag);
  stamp(bhs, itt != pdu::kNoTag);
  emit(bhs, data);
}

void TargetConnection::ping() {
  const Ping ping{.ttt = static_cast<std::uint32_t>(array_.random.next() & 0x7fffffff),
                  .lun = array_.random.chance(0.5) ? 0 : std::uint64_t{1} << 48};
  pings_.push_back(ping);
  pdu::Header bhs = pdu::begin(pdu::kNopIn, pdu::kNoTag);
  put_be64(&bhs[8], ping.lun);
  put_be32(&bhs[20], ping.ttt);
  stamp(bhs, false);
  emit(bhs);
}

void TargetConnection::on_ping_answer(const pdu::Request& request) {
  const auto found = std::ranges::find(pings_, request.ttt(), &Ping::ttt);
  if (found == pings_.end()) return array_.checker.complain(*this, "a NOP-Out for a ping that was never sent");
  if (found->lun != request.lun()) array_.checker.complain(*this, "a NOP-Out with another LUN than the ping's");
  if (!request.immediate()) array_.checker.complain(*this, "a NOP-Out that answers, and is not immediate");
  pings_.erase(found);
}

void TargetConnection::async(std::uint8_t event, std::uint32_t one, std::uint32_t two, std::uint32_t three) {
  pdu::Header bhs = pdu::begin(pdu::kAsync, pdu::kNoTag);
  bhs[36] = event;
  put_be16(&bhs[38], one);
  put_be16(&bhs[40], two);
  put_be16(&bhs[42], three);
  stamp(bhs, true);
  emit(bhs);
}

}  // namespace nbdgw::sim
