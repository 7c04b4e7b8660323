#include "gateway/initiator/send_queue.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <numeric>

#include "tests/unit/initiator/wire.hpp"
#include "tests/unit/random.hpp"

using namespace nbdgw;
using namespace nbdgw::initiator;
using proto::iscsi::Opcode;
using test::Bytes;

namespace {

/// A task that writes, its data in pieces of 1, 2, 3 ... bytes.
struct Write {
  explicit Write(std::size_t length, std::uint8_t first) : memory(length) {
    std::iota(memory.begin(), memory.end(), first);
    for (std::size_t at = 0, piece = 1; at < length; at += piece++)
      list.push_back({&memory[at], std::min(piece, length - at)});
    command.data = list;
    task.command = &command;
  }
  Bytes memory;
  std::vector<iovec> list;
  ScsiCommand command;
  Task task;
};

/// A send queue beside a model of it: the same PDUs as plain bytes.
struct Sender {
  struct Expected {
    Bytes bytes;
    Task* task;
    bool command;
    bool data_out;
    std::uint32_t offset;
    std::size_t sent = 0;
  };

  void add(Opcode opcode, Write* write, std::uint32_t offset, Bytes data, std::size_t ahs = 0) {
    test::Pdu pdu;
    for (std::size_t i = 0; i < pdu.bhs.size(); ++i) pdu.bhs[i] = static_cast<std::uint8_t>(++salt);
    pdu.bhs[0] = static_cast<std::uint8_t>(opcode);
    pdu.bhs[4] = static_cast<std::uint8_t>(ahs / 4);
    for (std::size_t i = 0; i < 3; ++i) pdu.bhs[5 + i] = static_cast<std::uint8_t>(data.size() >> (16 - 8 * i));
    for (std::size_t i = 0; i < ahs; ++i) pdu.ahs.push_back(static_cast<std::uint8_t>(++salt));
    pdu.data = data;

    OutgoingPdu& out = queue.push();
    CHECK(out.length() == proto::iscsi::kBhsLength);
    out.bhs = pdu.bhs;
    std::copy(pdu.ahs.begin(), pdu.ahs.end(), out.extra.begin());
    out.extra_length = static_cast<std::uint8_t>(ahs);
    out.data_length = static_cast<std::uint32_t>(data.size());
    if (write != nullptr) {
      out.task = &write->task;
      out.data_offset = offset;
    } else if (!data.empty()) {
      plain.push_back(std::move(data));
      out.plain = plain.back().data();
    }
    queue.seal(header_digest, data_digest);
    model.push_back({to_bytes(pdu, header_digest, data_digest), write != nullptr ? &write->task : nullptr,
                     opcode == Opcode::scsi_command, opcode == Opcode::data_out, offset});
  }
  void add_data(Write& write, std::uint32_t offset, std::uint32_t length, Opcode opcode = Opcode::data_out,
                std::size_t ahs = 0) {
    const auto from = write.memory.begin() + offset;
    add(opcode, &write, offset, Bytes(from, from + length), ahs);
  }

  /// Everything that is unsent, as the model has it.
  Bytes unsent() const {
    Bytes all;
    for (const Expected& each : model)
      all.insert(all.end(), each.bytes.begin() + static_cast<std::ptrdiff_t>(each.sent), each.bytes.end());
    return all;
  }
  /// What it offers in at most this many entries, compared with the model; how much that is.
  std::size_t gather(std::size_t entries) {
    std::vector<iovec> out(entries);
    const std::size_t used = queue.tx_buffers(out);
    REQUIRE(used <= entries);
    Bytes bytes;
    for (const iovec& entry : std::span(out).first(used)) {
      if (entry.iov_len == 0) FAIL("an empty entry");
      const auto* at = static_cast<const std::uint8_t*>(entry.iov_base);
      bytes.insert(bytes.end(), at, at + entry.iov_len);
    }
    const Bytes expected = unsent();
    REQUIRE(queue.bytes() == expected.size());
    if (used < entries) REQUIRE(bytes.size() == expected.size());
    if (!expected.empty() && entries > 0) REQUIRE(used > 0);
    REQUIRE(bytes.size() <= expected.size());
    REQUIRE(std::equal(bytes.begin(), bytes.end(), expected.begin()));
    return bytes.size();
  }
  void send(std::size_t bytes) {
    std::deque<Task*> told;
    queue.on_sent(bytes, [&](Task* task) {
      told.push_back(task);
      if (task != nullptr) --task->references;
    });
    std::deque<Task*> through;
    while (!model.empty()) {
      Expected& first = model.front();
      const std::size_t n = std::min(bytes, first.bytes.size() - first.sent);
      first.sent += n;
      bytes -= n;
      if (first.sent < first.bytes.size()) break;
      through.push_back(first.task);
      model.pop_front();
    }
    REQUIRE(told == through);
    check();
  }
  void drop(Write& write) {
    std::size_t told = 0;
    queue.drop_data(write.task, [&](Task* task) {
      REQUIRE(task == &write.task);
      --task->references;
      ++told;
    });
    std::size_t dropped = 0;
    for (Expected& each : model) {
      if (each.task != &write.task || !each.data_out || each.sent > 0) continue;
      each = {{}, nullptr, false, false, 0};  // keeps its place in the ring
      ++dropped;
    }
    while (!model.empty() && model.front().bytes.empty()) model.pop_front();
    REQUIRE(told == dropped);
    check();
  }
  void clear() {
    std::deque<Task*> told, queued;
    queue.clear([&](Task* task) {
      told.push_back(task);
      if (task != nullptr) --task->references;
    });
    for (const Expected& each : model) queued.push_back(each.task);
    REQUIRE(told == queued);
    model.clear();
    check();
  }
  void check() {
    std::vector<const Task*> commands, expected;
    queue.for_each_unsent_command([&](Task& task) { commands.push_back(&task); });
    for (const Expected& each : model)
      if (each.command && each.sent == 0) expected.push_back(each.task);
    REQUIRE(commands == expected);
    REQUIRE(queue.empty() == model.empty());
    REQUIRE(queue.room() == (model.size() < SendQueue::kMaxPdus && queue.bytes() < SendQueue::kMaxBytes));
    REQUIRE(queue.management_room() == (model.size() < SendQueue::kMaxPdus + SendQueue::kManagementPdus));
  }
  void check(const Write& write) const {
    const auto mine = [&](const Expected& each) { return each.task == &write.task; };
    REQUIRE(write.task.references == std::count_if(model.begin(), model.end(), mine));
    const auto end = static_cast<std::uint32_t>(write.memory.size());
    std::uint32_t first = end;  // what is sent in part counts as unsent
    for (const Expected& each : model)
      if (mine(each)) first = std::min(first, each.offset);
    REQUIRE(queue.first_unsent(write.task, end) == first);
  }

  SendQueue queue;
  std::deque<Expected> model;
  std::deque<Bytes> plain;
  bool header_digest = false;
  bool data_digest = false;
  std::uint32_t salt = 0;
};

/// One of everything: a command with an AHS and immediate data, its Data-Outs, another's, and what management sends.
void add_some(Sender& sender, Write& one, Write& other) {
  sender.add_data(one, 0, 21, Opcode::scsi_command, 20);
  sender.add_data(one, 21, 18);
  sender.add(Opcode::nop_out, nullptr, 0, {});
  sender.add_data(other, 0, 0, Opcode::scsi_command);
  sender.add_data(one, 39, 4);
  sender.add_data(other, 3, 7);
  sender.add(Opcode::text_request, nullptr, 0, {1, 2, 3, 4, 5});
  sender.add_data(one, 43, 1);
}

template <typename Each>
void for_all_digests(Each each) {
  for (const bool header : {false, true})
    for (const bool data : {false, true}) each(header, data);
}

}  // namespace

TEST_CASE("send queue: sent in part, up to every byte, into few entries and many") {
  for_all_digests([](bool header, bool data) {
    for (std::size_t cut = 0;; ++cut) {
      CAPTURE(cut);
      Sender sender;
      sender.header_digest = header;
      sender.data_digest = data;
      Write one(44, 1), other(10, 101);
      add_some(sender, one, other);
      const std::size_t all = sender.gather(200);
      REQUIRE(all == sender.queue.bytes());
      if (cut > all) return;
      sender.send(cut);
      for (std::size_t entries = 0; entries < 40; ++entries) sender.gather(entries);
      for (const Write* write : {&one, &other}) sender.check(*write);
      sender.send(all - cut);
      REQUIRE(sender.queue.empty());
      REQUIRE(one.task.references + other.task.references == 0);
    }
  });
}

TEST_CASE("send queue: what has begun to be sent goes on, of the rest data can be dropped") {
  for_all_digests([](bool header, bool data) {
    for (std::size_t cut = 0;; ++cut) {
      CAPTURE(cut);
      Sender sender;
      sender.header_digest = header;
      sender.data_digest = data;
      Write one(44, 1), other(10, 101);
      add_some(sender, one, other);
      const std::size_t all = sender.queue.bytes();
      if (cut > all) return;
      sender.send(cut);
      sender.drop(one);
      sender.gather(200);
      for (const Write* write : {&one, &other}) sender.check(*write);
      sender.drop(one);  // nothing is left of it
      sender.add_data(one, 0, 5);
      while (!sender.queue.empty()) sender.send(std::min<std::size_t>(7, sender.gather(3)));
      for (const Write* write : {&one, &other}) sender.check(*write);
    }
  });
}

TEST_CASE("send queue: data is sent from where it is") {
  Sender sender;
  Write write(10, 1);
  sender.add_data(write, 4, 5);  // in the pieces [3, 6) and [6, 10)
  sender.add(Opcode::nop_out, nullptr, 0, {9, 8, 7});
  std::array<iovec, 16> out;
  REQUIRE(sender.queue.tx_buffers(out) == 7);
  CHECK(out[1].iov_base == &write.memory[4]);
  CHECK(out[1].iov_len == 2);
  CHECK(out[2].iov_base == &write.memory[6]);
  CHECK(out[2].iov_len == 3);
  CHECK(out[5].iov_base == sender.plain[0].data());
}

TEST_CASE("send queue: there is room for so many PDUs, then for management's alone, then for none") {
  Sender sender;
  Write write(8, 1);
  for (int lap = 0; lap < 3; ++lap) {  // the ring begins elsewhere each time
    std::size_t count = 0;
    for (; sender.queue.room(); ++count) sender.add_data(write, 0, 8);
    CHECK(count == SendQueue::kMaxPdus);
    for (; sender.queue.management_room(); ++count) sender.add(Opcode::nop_out, nullptr, 0, {});
    CHECK(count == SendQueue::kMaxPdus + SendQueue::kManagementPdus);
    sender.send(sender.gather(7));
    while (!sender.queue.empty()) sender.send(sender.gather(1000));
    sender.add(Opcode::nop_out, nullptr, 0, {});
    sender.send(48);
    CHECK(sender.queue.bytes() == 0);
  }
}

TEST_CASE("send queue: there is room for so many bytes, and for one PDU of any size below that") {
  Sender sender;
  Write write(SendQueue::kMaxBytes - 100, 1);
  sender.add_data(write, 0, SendQueue::kMaxBytes - 100);
  CHECK(sender.queue.room());
  sender.add(Opcode::nop_out, nullptr, 0, {1, 2, 3});  // 48 + 4: now it is exactly full
  CHECK(sender.queue.bytes() == SendQueue::kMaxBytes);
  CHECK_FALSE(sender.queue.room());
  CHECK(sender.queue.management_room());
  sender.send(1);
  CHECK(sender.queue.room());
  sender.add_data(write, 0, 1000);
  CHECK_FALSE(sender.queue.room());
  sender.drop(write);
  CHECK(sender.queue.room());
}

TEST_CASE("send queue: when the connection is gone all is told, and the next one begins with nothing") {
  for (std::size_t sent = 0; sent < 300; sent += 7) {
    Sender sender;
    sender.header_digest = sender.data_digest = true;
    Write one(44, 1), other(10, 101);
    add_some(sender, one, other);
    sender.send(sent);
    sender.clear();
    REQUIRE(sender.queue.bytes() == 0);
    REQUIRE(one.task.references + other.task.references == 0);
    REQUIRE(sender.gather(5) == 0);
    sender.header_digest = sender.data_digest = false;
    add_some(sender, one, other);
    sender.gather(100);
  }
}

TEST_CASE("send queue: at random, against the model") {
  auto random = test::seeded_random();
  const auto below = [&](std::size_t bound) { return static_cast<std::uint32_t>(random() % bound); };
  std::deque<Write> writes;
  for (std::uint8_t i = 0; i < 5; ++i)
    writes.emplace_back(100 + 40 * std::size_t{i}, static_cast<std::uint8_t>(50 * i));
  Sender sender;
  std::size_t fullest = 0;
  for (int step = 0; step < 20'000; ++step) {
    Write& write = writes[below(writes.size())];
    const bool filling = step / 1000 % 2 == 0;
    if (below(500) == 0) sender.header_digest = !sender.header_digest;
    if (below(500) == 0) sender.data_digest = !sender.data_digest;
    switch (below(filling ? 12 : 24)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
        if (!sender.queue.room()) break;
        sender.add_data(write, 0, below(2) * below(write.memory.size()), Opcode::scsi_command, 4 * below(6));
        break;
      case 5:
      case 6:
      case 7: {
        if (!sender.queue.room()) break;
        const std::uint32_t offset = below(write.memory.size());
        sender.add_data(write, offset, 1 + below(write.memory.size() - offset));
        break;
      }
      case 8:
        if (sender.queue.management_room()) sender.add(Opcode::nop_out, nullptr, 0, Bytes(below(9), 0xaa));
        break;
      case 9:
        if (below(4) == 0) sender.drop(write);
        break;
      case 10:
        if (below(200) == 0) sender.clear();
        break;
      default:
        sender.send(below(sender.gather(below(40)) + 1));
    }
    sender.check(write);
    fullest = std::max(fullest, sender.model.size());
  }
  CHECK(fullest > SendQueue::kMaxPdus);
  while (!sender.queue.empty()) sender.send(sender.gather(64));
  for (const Write& write : writes) CHECK(write.task.references == 0);
}
