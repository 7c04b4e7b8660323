#include <algorithm>
#include <cstring>

#include "gateway/iscsi_target/connection.hpp"
#include "proto/assert.hpp"
#include "proto/bytes/endian.hpp"
#include "proto/bytes/iovecs.hpp"
#include "proto/crc32c.hpp"

/// Bytes to PDUs. Headers, and whatever is not the payload of a write, go through a small staging buffer; the payload
/// of a write goes straight into its task's memory, followed by the next headers.
namespace nbdgw::iscsi_target {

using namespace proto::iscsi;

bool Connection::wants_to_read() const noexcept {
  return (state_ == ConnectionState::login || state_ == ConnectionState::full_feature) && !is_frozen() &&
         queued_control_ <= kMaxQueuedControl;
}

/// Whether the next bytes from the socket belong into a task's memory.
bool Connection::takes_directly() const noexcept {
  return rx_stage_ == RxStage::data && sink_ == Sink::task && staging_begin_ == staging_end_ && segment_left_ > 0 &&
         sink_offset_ < rx_task_->data_length;
}

std::size_t Connection::rx_buffers(std::span<iovec> out) {
  if (!wants_to_read() || out.empty()) return 0;
  std::size_t filled = 0;
  if (takes_directly()) {
    const std::uint32_t n = std::min(segment_left_, rx_task_->data_length - sink_offset_);
    std::size_t covered = 0;
    filled = proto::slice(rx_task_->data, sink_offset_, n, out, &covered);
    if (covered < n || filled == out.size()) return filled;
  }
  if (staging_begin_ == staging_end_) staging_begin_ = staging_end_ = 0;
  if (staging_end_ == staging_.size()) {
    std::memmove(staging_.data(), &staging_[staging_begin_], staging_end_ - staging_begin_);
    staging_end_ -= staging_begin_;
    staging_begin_ = 0;
  }
  NBDGW_ASSERT(staging_end_ < staging_.size(), "the staging buffer holds any header");
  out[filled++] = {&staging_[staging_end_], staging_.size() - staging_end_};
  return filled;
}

void Connection::on_received(std::size_t n, proto::Micros now) {
  server_.set_now(now);
  last_received_ = now;
  if (takes_directly()) {
    const std::size_t direct =
        std::min<std::size_t>({n, segment_left_, std::size_t{rx_task_->data_length} - sink_offset_});
    take_direct(direct);
    n -= direct;
  }
  NBDGW_ASSERT(n <= staging_.size() - staging_end_, "no more was received than there was room for");
  staging_end_ += n;
  parse(now);
  server_.tidy();
}

void Connection::take_direct(std::size_t n) {
  if (rx_data_digest_) {
    std::array<iovec, 16> piece;
    for (std::size_t done = 0; done < n;) {
      std::size_t covered = 0;
      const std::size_t count = proto::slice(rx_task_->data, sink_offset_ + done, n - done, piece, &covered);
      rx_crc_ = proto::crc32c(rx_crc_, std::span(piece).first(count));
      done += covered;
    }
  }
  sink_offset_ += static_cast<std::uint32_t>(n);
  segment_left_ -= static_cast<std::uint32_t>(n);
}

std::span<const std::uint8_t> Connection::staged() const noexcept {
  return std::span(staging_).subspan(staging_begin_, staging_end_ - staging_begin_);
}

void Connection::consume(std::size_t n) noexcept {
  staging_begin_ += n;
}

void Connection::parse(proto::Micros now) {
  bool moved = true;
  while (moved && (state_ == ConnectionState::login || state_ == ConnectionState::full_feature)) {
    switch (rx_stage_) {
      case RxStage::header:
        moved = parse_header(now);
        break;
      case RxStage::data:
        moved = parse_data();
        break;
      case RxStage::trailer:
        moved = parse_trailer(now);
        break;
    }
  }
}

bool Connection::parse_header(proto::Micros) {
  const auto bytes = staged();
  if (bytes.size() < kBhsLength) return false;
  std::memcpy(header_.data(), bytes.data(), kBhsLength);
  const Prefix prefix = Prefix::decode(header_);
  const std::size_t digest = rx_header_digest_ ? kDigestLength : 0;
  const std::size_t length = kBhsLength + prefix.ahs_length;
  if (bytes.size() < length + digest) return false;
  if (rx_header_digest_) {
    // CRC32C goes out with its least significant byte first (RFC 7143 section 13.1 by way of RFC 3720 B.4).
    std::uint32_t sent = 0;
    std::memcpy(&sent, &bytes[length], sizeof sent);
    if constexpr (std::endian::native == std::endian::big) sent = proto::byte_swap(sent);
    if (sent != proto::crc32c(0, bytes.data(), length)) {
      ++server_.counters().digest_errors;
      violation("header digest error");
      return false;
    }
  }
  consume(length + digest);
  rx_stage_ = RxStage::data;
  sink_ = Sink::discard;
  rx_task_ = nullptr;
  sink_offset_ = 0;
  segment_length_ = segment_left_ = prefix.data_length;
  rx_crc_ = 0;
  on_header();
  return state_ == ConnectionState::login || state_ == ConnectionState::full_feature;
}

bool Connection::parse_data() {
  while (segment_left_ > 0) {
    const auto bytes = staged();
    if (bytes.empty()) return false;
    std::size_t n = std::min<std::size_t>(bytes.size(), segment_left_);
    if (sink_ == Sink::task && sink_offset_ < rx_task_->data_length) {
      n = std::min<std::size_t>(n, rx_task_->data_length - sink_offset_);
      proto::copy_in(rx_task_->data, sink_offset_, bytes.data(), n);
    } else if (sink_ == Sink::text) {
      login_text_.append(reinterpret_cast<const char*>(bytes.data()), n);
    }
    if (rx_data_digest_) rx_crc_ = proto::crc32c(rx_crc_, bytes.data(), n);
    consume(n);
    sink_offset_ += static_cast<std::uint32_t>(n);
    segment_left_ -= static_cast<std::uint32_t>(n);
  }
  rx_stage_ = RxStage::trailer;
  return true;
}

bool Connection::parse_trailer(proto::Micros now) {
  const std::size_t pad = padding(segment_length_);
  const std::size_t digest = rx_data_digest_ && segment_length_ > 0 ? kDigestLength : 0;
  const auto bytes = staged();
  if (bytes.size() < pad + digest) return false;
  if (digest != 0) {
    rx_crc_ = proto::crc32c(rx_crc_, bytes.data(), pad);
    std::uint32_t sent = 0;
    std::memcpy(&sent, &bytes[pad], sizeof sent);
    if constexpr (std::endian::native == std::endian::big) sent = proto::byte_swap(sent);
    if (sent != rx_crc_) {
      // Section 7.8: the PDU is rejected. At level 0 there is no way to get its data again but a new session.
      ++server_.counters().digest_errors;
      ++server_.counters().protocol_errors;
      reject(RejectReason::data_digest_error, header_);
      close_after_sending("data digest error");
      return false;
    }
  }
  consume(pad + digest);
  rx_stage_ = RxStage::header;
  on_pdu(now);
  return true;
}

void Connection::on_header() {
  const Prefix prefix = Prefix::decode(header_);
  const std::uint32_t limit = state_ == ConnectionState::login ? kDefaultMaxRecvDataSegmentLength
                                                               : parameters_.own_max_recv_data_segment_length;
  if (prefix.data_length > limit)
    return violation("a data segment of " + std::to_string(prefix.data_length) + " bytes, where " +
                     std::to_string(limit) + " are allowed");
  if (state_ == ConnectionState::login) return begin_login(prefix);
  begin_request(prefix);
}

void Connection::begin_login(const Prefix& prefix) {
  if (static_cast<Opcode>(prefix.opcode) != Opcode::login_request)
    return violation("the first PDU is no login request (opcode " + std::to_string(prefix.opcode) + ")");
  sink_ = Sink::text;
  login_text_.clear();
}

void Connection::begin_request(const Prefix& prefix) {
  const auto opcode = static_cast<Opcode>(prefix.opcode);
  switch (opcode) {
    case Opcode::data_out:
      return begin_data_out();
    case Opcode::snack_request:
      return;
    case Opcode::nop_out:
    case Opcode::scsi_command:
    case Opcode::task_management_request:
    case Opcode::text_request:
    case Opcode::logout_request:
      break;
    case Opcode::login_request:
      return violation("a login request in the full feature phase");
    default:
      reject(RejectReason::command_not_supported, header_);
      ++server_.counters().protocol_errors;
      return close_after_sending("a PDU with the unknown opcode " + std::to_string(prefix.opcode));
  }
  Task* task = nullptr;
  switch (session_->begin_task(*this, header_, task)) {
    case Session::Intake::taken:
      break;
    case Session::Intake::ignored:
      ++server_.counters().ignored;
      return;
    case Session::Intake::too_many_immediate:
      return reject(RejectReason::immediate_command_reject, header_);
    case Session::Intake::tag_in_use:
      return violation("a request with the task tag of another that is not answered yet");
  }
  rx_task_ = task;
  sink_ = Sink::task;
  if (opcode == Opcode::scsi_command) return begin_scsi(*task, prefix);
  const std::uint32_t most = opcode == Opcode::nop_out        ? kMaxPingData
                             : opcode == Opcode::text_request ? static_cast<std::uint32_t>(kMaxTextLength)
                                                              : 0;
  if (prefix.data_length > most && opcode != Opcode::nop_out)
    return violation("a data segment that is too long for its kind of PDU");
  session_->allocate(*task, std::min(prefix.data_length, most));
}

/// Immediate data and what may follow (sections 11.3, 13.10, 13.11, 13.14).
void Connection::begin_scsi(Task& task, const Prefix& prefix) {
  const ScsiCommandPdu& command = task.command;
  const SessionParameters& session = session_->parameters();
  if (session_->is_discovery()) return violation("a SCSI command in a discovery session");
  if (prefix.data_length > 0 && !command.write) return violation("a command with data that is no write");
  if (prefix.data_length > 0 && !session.immediate_data)
    return violation("immediate data, although ImmediateData=No was negotiated");
  if (prefix.data_length > std::min(session.first_burst_length, command.expected_length))
    return violation("more immediate data than FirstBurstLength or the transfer allow");
  if (!command.final && (!command.write || session.initial_r2t))
    return violation("a command that announces unsolicited data it may not send");
  task.unsolicited_open = !command.final;
  task.solicited_up_to = 0;
  session_->allocate(task, task.out_length);
}

void Connection::begin_data_out() {
  const DataOut pdu = DataOut::decode(header_);
  Task* task = session_->find(pdu.itt);
  if (task == nullptr || !task->is_scsi() ||
      (task->state != TaskState::parked && task->state != TaskState::gathering)) {
    // Late data of a task that was aborted or is answered already: what was on its way cannot be called back.
    ++server_.counters().stray_data_out;
    return;
  }
  if (task->connection != this) return violation("Data-Out on another connection than its command");
  if (!check_data_out(*task, pdu)) return;
  rx_task_ = task;
  sink_ = Sink::task;
  sink_offset_ = pdu.buffer_offset;
}

/// Order and bounds of Data-Out (section 11.7; DataPDUInOrder and DataSequenceInOrder are always Yes).
bool Connection::check_data_out(const Task& task, const DataOut& pdu) {
  const auto bad = [this](const char* what) {
    violation(std::string("Data-Out ") + what);
    return false;
  };
  if (pdu.buffer_offset != task.received) return bad("that does not begin where the last one ended");
  if (pdu.ttt == kReservedTag) {
    const std::uint32_t most = std::min(session_->parameters().first_burst_length, task.command.expected_length);
    if (!task.unsolicited_open) return bad("that nobody asked for");
    if (pdu.data_sn != task.unsolicited_data_sn) return bad("with a gap in its DataSN");
    if (pdu.data_length > most - std::min(most, task.received)) return bad("beyond FirstBurstLength or the transfer");
    return true;
  }
  if (task.unsolicited_open) return bad("for an R2T while unsolicited data is not complete");
  if (task.solicited_count == 0 || pdu.ttt != task.solicited[0].ttt)
    return bad("for an R2T that is not the next one");
  const Solicited& burst = task.solicited[0];
  if (pdu.data_sn != burst.data_sn) return bad("with a gap in its DataSN");
  if (pdu.data_length > burst.length - burst.received) return bad("beyond what its R2T asked for");
  const bool complete = pdu.data_length == burst.length - burst.received;
  if (pdu.final != complete)
    return bad(complete ? "that completes its R2T without the F bit" : "that ends its R2T too early");
  return true;
}

void Connection::on_pdu(proto::Micros now) {
  if (state_ == ConnectionState::login) return on_login(now);
  Task* task = rx_task_;
  rx_task_ = nullptr;
  switch (static_cast<Opcode>(Prefix::decode(header_).opcode)) {
    case Opcode::data_out:
      if (task != nullptr) on_data_out(*task, now);
      return;
    case Opcode::snack_request:
      return reject(RejectReason::snack_reject, header_);
    default:
      if (task != nullptr) session_->deliver(*task, now);
      return;
  }
}

void Connection::on_data_out(Task& task, proto::Micros now) {
  const DataOut pdu = DataOut::decode(header_);
  task.received += pdu.data_length;
  if (pdu.ttt == kReservedTag) {
    ++task.unsolicited_data_sn;
    if (pdu.final) task.unsolicited_open = false;
  } else {
    Solicited& burst = task.solicited[0];
    burst.received += pdu.data_length;
    ++burst.data_sn;
    if (pdu.final) {
      std::copy(task.solicited.begin() + 1, task.solicited.begin() + task.solicited_count, task.solicited.begin());
      --task.solicited_count;
    }
  }
  session_->data_arrived(task, now);
}

}  // namespace nbdgw::iscsi_target
