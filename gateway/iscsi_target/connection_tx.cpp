#include <algorithm>
#include <bit>
#include <cstring>

#include "gateway/iscsi_target/connection.hpp"
#include "proto/assert.hpp"
#include "proto/bytes/endian.hpp"
#include "proto/bytes/iovecs.hpp"
#include "proto/crc32c.hpp"

/// PDUs to bytes. A PDU gets its numbers when it is made, that is when there is room for it among the ones being
/// sent; payload leaves from where it lies.
namespace nbdgw::iscsi_target {

using namespace proto::iscsi;

namespace {

void store_digest(std::uint8_t* to, std::uint32_t crc) noexcept {
  if constexpr (std::endian::native == std::endian::big) crc = proto::byte_swap(crc);
  std::memcpy(to, &crc, sizeof crc);
}

/// Adds entries for a piece in one part, of which the first `skip` bytes are sent already.
void add_flat(const std::uint8_t* data, std::size_t length, std::size_t& skip, std::span<iovec> out,
              std::size_t& filled) {
  if (skip >= length) {
    skip -= length;
    return;
  }
  // sendmsg(2) does not write, iovec just cannot say so.
  out[filled++] = {const_cast<std::uint8_t*>(data) + skip, length - skip};
  skip = 0;
}

bool is_r2t_of(const Task& task, const ControlPdu& pdu) noexcept {
  const Prefix prefix = Prefix::decode(pdu.header);
  return static_cast<Opcode>(prefix.opcode) == Opcode::r2t && prefix.itt == task.itt;
}

}  // namespace

ControlPdu& Connection::new_control() {
  if (free_controls_.empty()) {
    controls_.push_back(std::make_unique<ControlPdu>());
    free_controls_.push_back(controls_.back().get());
  }
  ControlPdu& pdu = *free_controls_.back();
  free_controls_.pop_back();
  pdu.data.clear();
  pdu.consumes_stat_sn = true;
  pdu.ends_login = false;
  return pdu;
}

void Connection::append(Outgoing& item) noexcept {
  item.next_out = nullptr;
  (queue_last_ != nullptr ? queue_last_->next_out : queue_first_) = &item;
  queue_last_ = &item;
}

void Connection::send(ControlPdu& pdu) {
  ++queued_control_;
  append(pdu);
  server_.mark_ready(*this);
}

void Connection::send(Task& task) {
  append(task);
  server_.mark_ready(*this);
}

void Connection::pop_queue() noexcept {
  queue_first_ = queue_first_->next_out;
  if (queue_first_ == nullptr) queue_last_ = nullptr;
}

/// An R2T of a task that is no more must not go out: the initiator may have been told that the task is gone. One that
/// has all its data has none any more, and its tag may be another's by now (Session::disown()).
void Connection::forget(Task& task) {
  if (rx_task_ == &task) {
    rx_task_ = nullptr;
    sink_ = Sink::discard;
  }
  Outgoing* item = queue_first_;
  queue_first_ = queue_last_ = nullptr;
  while (item != nullptr) {
    Outgoing* following = item->next_out;
    ControlPdu* control = item->kind == Outgoing::Kind::control ? static_cast<ControlPdu*>(item) : nullptr;
    if (control != nullptr && task.state == TaskState::gathering && is_r2t_of(task, *control)) {
      --queued_control_;
      free_controls_.push_back(control);
    } else if (item != &task) {
      append(*item);
    }
    item = following;
  }
}

std::size_t Connection::tx_buffers(std::span<iovec> out) {
  if (state_ == ConnectionState::closed || stopped_sending_ || is_frozen()) return 0;
  fill_wire();
  std::size_t filled = 0;
  std::size_t skip = sent_of_first_;
  for (std::size_t i = 0; i < wire_count_; ++i) {
    const WirePdu& wire = wire_[(wire_first_ + i) % kWirePdus];
    if (out.size() - filled < 3) break;  // header, a piece of data, trailer
    add_flat(wire.header.data(), wire.header_length, skip, out, filled);
    if (wire.flat != nullptr) {
      add_flat(wire.flat, wire.data_length, skip, out, filled);
    } else if (skip >= wire.data_length) {
      skip -= wire.data_length;
    } else {
      std::size_t covered = 0;
      const std::size_t left = wire.data_length - skip;
      filled += proto::slice(wire.task->data, wire.data_offset + skip, left, out.subspan(filled), &covered);
      skip = 0;
      if (covered < left || filled == out.size()) break;
    }
    if (wire.trailer_length > 0) add_flat(wire.trailer.data(), wire.trailer_length, skip, out, filled);
  }
  return filled;
}

void Connection::on_sent(std::size_t n, proto::Micros now) {
  server_.set_now(now);
  while (n > 0) {
    NBDGW_ASSERT(wire_count_ > 0, "no more was sent than there was to send");
    WirePdu& wire = wire_[wire_first_];
    const std::size_t left = wire.size() - sent_of_first_;
    if (n < left) {
      sent_of_first_ += n;
      break;
    }
    n -= left;
    sent_of_first_ = 0;
    wire_first_ = (wire_first_ + 1) % kWirePdus;
    --wire_count_;
    release(wire);
  }
  if (state_ == ConnectionState::closing && wire_count_ == 0 && queue_first_ == nullptr)
    enter(ConnectionState::closed);
  server_.tidy();
}

void Connection::release(WirePdu& wire) noexcept {
  if (wire.control != nullptr) {
    --queued_control_;
    free_controls_.push_back(wire.control);
  }
  if (wire.task != nullptr) {
    Task& task = *wire.task;
    --task.on_wire;
    const bool over = task.state == TaskState::finished || task.state == TaskState::aborted;
    if (over && task.on_wire == 0) task.session->release(task);
  }
  wire.control = nullptr;
  wire.task = nullptr;
  wire.flat = nullptr;
}

/// Lets go of everything that was to be sent.
void Connection::clear_tx() noexcept {
  while (queue_first_ != nullptr) {
    Outgoing* item = queue_first_;
    pop_queue();
    if (item->kind == Outgoing::Kind::control) {
      --queued_control_;
      free_controls_.push_back(static_cast<ControlPdu*>(item));
    }
  }
  while (wire_count_ > 0) {
    release(wire_[wire_first_]);
    wire_first_ = (wire_first_ + 1) % kWirePdus;
    --wire_count_;
  }
  sent_of_first_ = 0;
}

void Connection::fill_wire() {
  while (wire_count_ < kWirePdus && queue_first_ != nullptr) {
    WirePdu& wire = wire_[(wire_first_ + wire_count_) % kWirePdus];
    wire.data_length = 0;
    wire.flat = nullptr;
    ++wire_count_;
    Outgoing* item = queue_first_;
    if (item->kind == Outgoing::Kind::control) {
      pop_queue();
      make_control(*static_cast<ControlPdu*>(item), wire);
    } else if (make_task(*static_cast<Task*>(item), wire)) {
      pop_queue();
    }
  }
}

TargetSequence Connection::sequence(bool consume) noexcept {
  TargetSequence numbers = window_;
  numbers.stat_sn = stat_sn_;
  if (consume) ++stat_sn_;
  if (session_ != nullptr) {
    numbers.exp_cmd_sn = session_->exp_cmd_sn();
    numbers.max_cmd_sn = session_->max_cmd_sn();
  }
  return numbers;
}

/// Header digest, padding and data digest around a header and the data that `wire` says.
void Connection::seal(WirePdu& wire, const Bhs& header) {
  std::memcpy(wire.header.data(), header.data(), kBhsLength);
  wire.header_length = kBhsLength;
  if (tx_header_digest_) {
    store_digest(&wire.header[kBhsLength], proto::crc32c(0, header.data(), kBhsLength));
    wire.header_length += kDigestLength;
  }
  const std::uint32_t pad = padding(wire.data_length);
  wire.trailer.fill(0);
  wire.trailer_length = static_cast<std::uint8_t>(pad);
  if (tx_data_digest_ && wire.data_length > 0) seal_data(wire, pad);
  if (server_.gate() != nullptr && (tx_header_digest_ || tx_data_digest_)) damage(wire, pad);
}

void Connection::seal_data(WirePdu& wire, std::uint32_t pad) {
  std::uint32_t crc = 0;
  if (wire.flat != nullptr) {
    crc = proto::crc32c(0, wire.flat, wire.data_length);
  } else {
    std::array<iovec, 16> piece;
    for (std::uint32_t done = 0; done < wire.data_length;) {
      std::size_t covered = 0;
      const std::size_t n =
          proto::slice(wire.task->data, wire.data_offset + done, wire.data_length - done, piece, &covered);
      crc = proto::crc32c(crc, std::span(piece).first(n));
      done += static_cast<std::uint32_t>(covered);
    }
  }
  crc = proto::crc32c(crc, wire.trailer.data(), pad);
  store_digest(&wire.trailer[pad], crc);
  wire.trailer_length = static_cast<std::uint8_t>(pad + kDigestLength);
}

void Connection::damage(WirePdu& wire, std::uint32_t pad) {
  const bool data_in = wire.task != nullptr && wire.flat == nullptr && wire.data_length > 0;
  switch (server_.gate()->damage(*this, wire.task, tx_header_digest_, data_in && tx_data_digest_)) {
    case Gate::Damage::none:
      return;
    case Gate::Damage::header_digest:
      wire.header[kBhsLength] ^= 1;
      return;
    case Gate::Damage::data_digest:
      wire.trailer[pad] ^= 1;
      return;
  }
}

void Connection::make_control(ControlPdu& pdu, WirePdu& wire) {
  wire.control = &pdu;
  wire.flat = pdu.data.data();
  wire.data_length = static_cast<std::uint32_t>(pdu.data.size());
  // StatSN, ExpCmdSN and MaxCmdSN lie at the same place in every PDU from a target (section 11.2.1 and on). A login
  // that has no session yet has put its own.
  const bool has_window = state_ != ConnectionState::login || session_ != nullptr;
  const TargetSequence numbers = sequence(pdu.consumes_stat_sn);
  proto::store_be32(&pdu.header[24], numbers.stat_sn);
  if (has_window) {
    proto::store_be32(&pdu.header[28], numbers.exp_cmd_sn);
    proto::store_be32(&pdu.header[32], numbers.max_cmd_sn);
  }
  seal(wire, pdu.header);
  if (pdu.ends_login) {
    tx_header_digest_ = parameters_.header_digest == Digest::crc32c;
    tx_data_digest_ = parameters_.data_digest == Digest::crc32c;
  }
}

/// Makes the task's next PDU. True: it was its last one.
bool Connection::make_task(Task& task, WirePdu& wire) {
  wire.task = &task;
  ++task.on_wire;
  if (task.in_sent < task.in_length)
    make_data_in(task, wire);
  else
    make_response(task, wire);
  return task.state == TaskState::finished;
}

/// A Data-In, up to what the initiator takes in one and to the end of a burst (section 11.7). Good status comes along
/// with the last one.
void Connection::make_data_in(Task& task, WirePdu& wire) {
  const std::uint32_t burst = task.session->parameters().max_burst_length;
  const std::uint32_t left_of_burst = burst - task.in_sent % burst;
  wire.data_offset = task.in_sent;
  wire.data_length = std::min({parameters_.peer_max_recv_data_segment_length, kMaxDataInSegment, left_of_burst,
                               task.in_length - task.in_sent});
  DataIn pdu{.data_length = wire.data_length, .itt = task.itt, .data_sn = task.data_sn++};
  pdu.buffer_offset = task.in_sent;
  task.in_sent += wire.data_length;
  const bool last = task.in_sent == task.in_length;
  pdu.final = last || wire.data_length == left_of_burst;
  pdu.has_status = last && task.status == proto::scsi::Status::good;
  if (pdu.has_status) {
    pdu.status = status_fields(task);
    task.session->finish(task);
    pdu.sequence = sequence(true);
  } else {
    pdu.sequence = sequence(false);
    pdu.sequence.stat_sn = 0;  // reserved without the S bit
  }
  Bhs header;
  pdu.encode(header);
  seal(wire, header);
}

void Connection::make_response(Task& task, WirePdu& wire) {
  wire.flat = task.sense_segment.data();
  wire.data_length = task.sense_segment_length;
  ScsiResponse pdu{.status = status_fields(task), .data_length = wire.data_length, .itt = task.itt};
  pdu.exp_data_sn = task.data_sn + task.r2t_sn;
  task.session->finish(task);
  pdu.sequence = sequence(true);
  Bhs header;
  pdu.encode(header);
  seal(wire, header);
}

}  // namespace nbdgw::iscsi_target
