#include <algorithm>
#include <array>
#include <deque>
#include <map>

#include <doctest/doctest.h>

#include "proto/scsi/constants.hpp"
#include "tests/unit/bridge/bench.hpp"
#include "tests/unit/random.hpp"

using nbdgw::bridge::ExportState;
using nbdgw::proto::kSecond;
using nbdgw::proto::nbd::Command;
using nbdgw::proto::nbd::Error;
using nbdgw::proto::scsi::SenseKey;
namespace nbd = nbdgw::nbd;

namespace {

/// What every byte of the disk must be. Writes are applied when they enter the fence, each part by itself: those that
/// overlap are executed in that order. A byte is not known after a write that failed or was abandoned, and inside of
/// what was trimmed.
class Model {
 public:
  explicit Model(std::size_t size) : value_(size), writer_(size), known_(size, true) {}

  void write(std::uint64_t offset, std::span<const std::uint8_t> data, std::uint64_t writer) {
    for (std::size_t i = 0; i < data.size(); ++i) set(offset + i, data[i], writer, true);
  }
  void forget(std::uint64_t offset, std::uint64_t length, std::uint64_t writer) {
    for (std::uint64_t i = offset; i < offset + length; ++i) set(i, 0, writer, false);
  }
  /// The write may have come to nothing, or to a part: what nobody has overwritten since is not known.
  void doubt(std::uint64_t offset, std::uint64_t length, std::uint64_t writer) {
    for (std::uint64_t i = offset; i < offset + length; ++i) {
      if (writer_[i] == writer) known_[i] = false;
    }
  }
  /// These bytes may be of any time now.
  void lose(std::uint64_t offset, std::uint64_t length) {
    for (std::uint64_t i = offset; i < offset + length; ++i) known_[i] = false;
  }
  /// Where `data` is not what it must be; -1: nowhere.
  std::int64_t differs(std::uint64_t offset, std::span<const std::uint8_t> data) const {
    for (std::size_t i = 0; i < data.size(); ++i) {
      if (known_[offset + i] && value_[offset + i] != data[i]) return static_cast<std::int64_t>(offset + i);
    }
    return -1;
  }

 private:
  void set(std::uint64_t at, std::uint8_t value, std::uint64_t writer, bool known) {
    value_[at] = value;
    writer_[at] = writer;
    known_[at] = known;
  }

  std::vector<std::uint8_t> value_;
  std::vector<std::uint64_t> writer_;
  std::vector<bool> known_;
};

struct Live {
  std::uint64_t id = 0;
  Command command{};
  std::uint64_t offset = 0;
  std::uint32_t length = 0;
  std::vector<std::uint8_t> data;  // WRITE
  std::uint32_t filled = 0;
  bool started = false;                 // some of it has entered the fence, or runs
  bool comparable = true;               // READ: nothing that overlaps was written meanwhile
  std::size_t acknowledged_before = 0;  // FLUSH: writes that were answered when it came
  bool fua = false;
  std::size_t client = 0;
  Reply* reply = nullptr;
};

/// A write-like request that was answered well.
struct Acknowledged {
  const Reply* reply = nullptr;
  std::uint32_t told = 0;  // clients, as bits, of which a FLUSH after it has failed for a lost cache
};

LunOptions random_lun(std::mt19937_64& random) {
  LunOptions lun;
  lun.block = random() % 2 == 0 ? 512 : 4096;
  lun.blocks = (1U << 18) / lun.block + random() % 9;
  const std::uint32_t transfers[] = {0, 0, 1, 7, 64, 200};
  lun.max_transfer = transfers[random() % std::size(transfers)];
  lun.write_cache = random() % 4 != 0;
  lun.dpofua = random() % 2 == 0;
  lun.lbpu = random() % 4 != 0;
  lun.lbpws = random() % 2 == 0;
  lun.lbprz = random() % 2 == 0;
  lun.write_same = random() % 3 != 0;
  lun.write_same_unmap_bit = random() % 3 != 0;
  lun.unmap = random() % 4 != 0;
  lun.capacity_16 = random() % 4 != 0;
  lun.transfer_16 = random() % 3 != 0;
  lun.write_same_16 = random() % 3 != 0;
  lun.synchronize_16 = random() % 3 != 0;
  lun.granularity = 1U << (random() % 5);
  lun.alignment = static_cast<std::uint32_t>(random() % lun.granularity);
  lun.max_unmap = static_cast<std::uint32_t>(std::max<std::uint64_t>(lun.granularity, random() % 300));
  lun.max_write_same = random() % 3 == 0 ? 0 : 1 + random() % 100;
  return lun;
}

class World {
 public:
  explicit World(std::mt19937_64& source)
      : random(source),
        bench(random_lun(random), {.queue_depth = static_cast<std::uint32_t>(1 + random() % 20), .requests = 40},
              5 * 1024 * 1024, nullptr, static_cast<std::uint32_t>(random() % 2 * stakes.size())),
        size(bench.lun.options.blocks * bench.lun.options.block),
        model(size) {
    bench.connect();
    for (std::size_t i = 0; i < kClients; ++i) bench.attach();
    bench.release_at_once = random() % 2 == 0;
    for (nbd::Stake& stake : stakes) stake.in_pieces = bench.release_at_once && random() % 2 == 0;
    bench.lun.on_written = [this](const FakeLun::Command& command, std::uint64_t first, std::uint64_t blocks) {
      const auto& segment =
          static_cast<const nbdgw::bridge::Segment&>(static_cast<const nbdgw::bridge::DiskCommand&>(command));
      auto& numbers = written_by[reinterpret_cast<const Reply*>(segment.request->header.cookie)];
      for (std::uint64_t b = first; b < first + blocks; ++b) numbers[b] = bench.lun.written;
    };
  }

  void step() {
    bench.now += static_cast<nbdgw::proto::Micros>(random() % 20'000);
    const std::uint64_t dice = random() % 100;
    if (dice < 30) {
      if (live.size() < most_live) begin();
    } else if (dice < 50) {
      feed();
    } else if (dice < 52) {
      abandon();
    } else if (dice < 54) {
      session();
    } else if (dice < 55) {
      trouble();
    } else {
      end_command();
    }
    hazy = hazy || bench.lun.attention_on_the_way().has_value();
    if (bench.target->next_deadline() <= bench.now) bench.target->on_deadline(bench.now);
    if (random() % 3 != 0) collect();
  }

  /// No more trouble: everything comes to its end.
  void settle() {
    if (!up) bench.target->on_session_up(10 * kSecond, bench.now);
    up = true;
    for (int i = 0; i < 100'000 && !(live.empty() && bench.target->idle() && online()); ++i) {
      feed();
      collect();
      if (!bench.lun.waiting.empty()) {
        bench.lun.complete(random() % bench.lun.waiting.size(), bench.now);
      } else if (bench.target->next_deadline() != nbdgw::proto::kNever) {
        bench.now = std::max(bench.now, bench.target->next_deadline());
        bench.target->on_deadline(bench.now);
      }
    }
    REQUIRE(live.empty());
    bench.check_idle();
    CHECK(online());
    // Each loss is told once to each, and then it is over.
    for (bench.asks = 0; bench.asks < kClients; ++bench.asks) {
      for (const bool owed : {bench.clients[bench.asks]->connection.standing() == nbd::LossStanding::owed, false}) {
        Reply* const reply = bench.flush();
        bench.run();
        CHECK((reply->error == Error::eio) == owed);
        if (reply->request != nullptr) bench.target->release(*reply->request);
      }
    }
    CHECK(bench.target->cache().doubtful() == 0);
    CHECK(model.differs(0, bench.lun.disk) == -1);
  }

  static constexpr std::size_t kClients = 3;

  std::mt19937_64& random;
  std::array<nbd::Stake, 3> stakes;  // of each client
  Bench bench;
  std::uint64_t size;
  Model model;
  std::deque<Live> live;
  std::uint64_t ids = 0;
  bool up = true;
  std::size_t most_live = 1 + random() % 40;
  std::uint64_t answered_well = 0;
  std::uint64_t compared = 0;  // READs
  std::uint64_t lost = 0;      // writes that were answered, and gone when a FLUSH failed for them
  std::vector<Acknowledged> acknowledged;
  std::map<const Reply*, std::map<std::uint64_t, std::uint64_t>> written_by;  // which numbers, by block
  bool hazy = false;  // since the last look: the LUN has told of a loss, and nobody can know yet

 private:
  nbdgw::proto::Micros outage = 0;  // of the session that is away

  bool online() const { return bench.target->state() == ExportState::online; }
  static bool writes(Command command) {
    return command == Command::write || command == Command::trim || command == Command::write_zeroes;
  }
  static bool overlap(const Live& a, const Live& b) {
    return a.offset < b.offset + b.length && b.offset < a.offset + a.length;
  }

  void begin() {
    const Command commands[] = {Command::read, Command::read,  Command::write, Command::write,       Command::write,
                                Command::trim, Command::flush, Command::write, Command::write_zeroes};
    Live item;
    item.id = ids + 1;
    item.command = commands[random() % std::size(commands)];
    std::uint16_t flags = random() % 4 == 0 ? nbdgw::proto::nbd::kCmdFlagFua : std::uint16_t{0};
    if (item.command == Command::write_zeroes && random() % 2 == 0) flags |= nbdgw::proto::nbd::kCmdFlagNoHole;
    item.fua = (flags & nbdgw::proto::nbd::kCmdFlagFua) != 0;
    if (item.command == Command::flush) {
      collect();  // so that it is clear what was answered before
    } else {
      const std::uint64_t block = bench.lun.options.block;
      const std::uint64_t most = random() % 40 == 0 ? size : random() % 10 == 0 ? 100'000 : 3 * block;
      item.length = static_cast<std::uint32_t>(1 + random() % most);
      if (random() % 2 == 0) item.length = static_cast<std::uint32_t>((item.length + block - 1) / block * block);
      item.length = static_cast<std::uint32_t>(std::min<std::uint64_t>(item.length, size));
      item.offset = random() % (size - item.length + 1);
      if (random() % 2 == 0) item.offset -= item.offset % block;
    }
    if (item.command == Command::write) {
      item.data.resize(item.length);
      for (std::size_t i = 0; i < item.data.size(); ++i) item.data[i] = static_cast<std::uint8_t>(random());
    }
    item.client = bench.asks = random() % kClients;
    item.reply = bench.admit(stakes[item.client], item.command, item.offset, item.length, flags);
    if (item.reply == nullptr) return stakes[item.client].leave();  // it gives up
    ++ids;
    live.push_back(std::move(item));
    if (live.back().command == Command::write) {
      if (random() % 2 == 0) feed(live.back());
    } else {
      start(live.back());
    }
  }

  void start(Live& item) {
    item.acknowledged_before = acknowledged.size();
    enter(item);
    apply(item);
    bench.target->start(*item.reply->request, bench.now);
  }

  /// The request takes its place in the order of things.
  void enter(Live& item) {
    item.started = true;
    for (Live& other : live) {
      if (&other == &item || !other.started || !overlap(item, other)) continue;
      if (writes(item.command) && other.command == Command::read) other.comparable = false;
      if (item.command == Command::read && writes(other.command)) item.comparable = false;
    }
  }

  /// What a command without payload does to the disk.
  void apply(const Live& item) {
    if (item.command == Command::write_zeroes) {
      model.write(item.offset, std::vector<std::uint8_t>(item.length), item.id);
    }
    if (item.command == Command::trim) {
      const LunOptions& lun = bench.lun.options;
      for (std::uint64_t granule = lun.alignment; granule + lun.granularity <= lun.blocks;
           granule += lun.granularity) {
        const std::uint64_t first = granule * lun.block;
        const std::uint64_t length = std::uint64_t{lun.granularity} * lun.block;
        if (first >= item.offset && first + length <= item.offset + item.length) {
          model.forget(first, length, item.id);
        }
      }
    }
  }

  void feed() {
    for (Live& item : live) {
      if (item.command == Command::write && item.filled < item.length && random() % 3 != 0) feed(item);
    }
  }
  void feed(Live& item) {
    nbd::Segment* const segment = bench.try_to_fill(*item.reply, item.data);
    // No memory, or an error that is about to be told. Nobody waits here: it asks again when it likes.
    if (segment == nullptr) return stakes[item.client].leave();
    const std::uint64_t at = item.filled;
    item.filled += segment->length;
    enter(item);
    model.write(item.offset + at, std::span(item.data).subspan(at, segment->length), item.id);
    bench.received(*item.reply, *segment);
  }

  void abandon() {
    collect();  // a client that was answered was told
    if (live.empty()) return;
    const std::size_t i = random() % live.size();
    Live& item = live[i];
    if (item.reply->request == nullptr) return;
    if (item.started && writes(item.command) && !item.reply->finished) model.doubt(item.offset, item.length, item.id);
    bench.abandon(*item.reply);
    live.erase(live.begin() + static_cast<std::ptrdiff_t>(i));
  }

  void session() {
    if (!up) {
      up = true;
      // "Power on or reset", at every login. The truth about the cache is told by the length of the outage.
      const bool cycled = outage >= nbdgw::bridge::kPowerCycleTime;
      if (!cycled || random() % 2 == 0) bench.lun.attentions.push_back(attention(0x00));
      bench.target->on_session_up(outage, bench.now);
    } else if (random() % 3 == 0) {
      let_attentions_arrive();
      up = false;
      outage = 0;
      for (FakeLun::Command* command : bench.lun.waiting) command->overdue = random() % 4 == 0;
      bench.lun.disrupt([this](const FakeLun::Command&) { return random() % 2 == 0; }, bench.now);
      bench.target->on_session_down("test", bench.now);
      if (random() % 3 == 0) {
        outage = 10 * kSecond;
        lose_power(random() % 2 == 0 ? 0x00 : 0x01);
      }
    }
  }

  /// What a target has told, and nobody has heard, it does not tell again.
  void let_attentions_arrive() {
    while (const auto i = bench.lun.attention_on_the_way()) bench.lun.complete(*i, bench.now);
  }

  static FakeLun::Sense attention(std::uint8_t ascq) { return make_sense(SenseKey::unit_attention, 0x29, ascq); }

  void lose_power(std::uint8_t ascq) {
    for (const auto& [block, number] : bench.lun.dirty) {
      model.lose(block * bench.lun.options.block, bench.lun.options.block);
    }
    bench.lun.power_loss(0x29, ascq);
  }

  /// What the target or the ladder may do while the session lives.
  void trouble() {
    if (!up) return;
    if (random() % 3 == 0) {
      if (random() % 2 == 0) return bench.target->poll_capacity(bench.now);
      bench.target->rescan(1, bench.now);
      return;
    }
    if (random() % 2 == 0) {
      if (random() % 4 == 0) lose_power(0x04);
      return;
    }
    // A reset by the ladder: some of the commands are aborted.
    let_attentions_arrive();
    for (std::size_t i = bench.lun.waiting.size(); i-- > 0;) {
      if (random() % 2 == 0) bench.lun.abort(i, random() % 4 == 0, bench.now);
    }
    bench.lun.attentions.push_back(attention(0x00));
    bench.target->on_unit_reset(bench.now);
  }

  static bool is_read_or_write(const FakeLun::Command& command) {
    const std::uint8_t opcode = FakeLun::opcode(command);
    return opcode == 0x28 || opcode == 0x2a || opcode == 0x88 || opcode == 0x8a;
  }

  void end_command() {
    if (bench.lun.waiting.empty() || !up) return;
    const std::size_t i = random() % bench.lun.waiting.size();
    if (random() % 4 == 0) return bench.lun.execute_only(i);
    if (bench.lun.executed(i)) return bench.lun.complete(i, bench.now);
    switch (random() % 60) {
      case 0:
        return bench.lun.refuse(i, 0x08, bench.now);  // BUSY
      case 1:
        return bench.lun.refuse(i, 0x28, bench.now);  // TASK SET FULL
      case 2:
        return bench.lun.refuse(i, make_sense(SenseKey::unit_attention, 0x29), bench.now);
      case 3:
        return bench.lun.refuse(i, make_sense(SenseKey::unit_attention, 0x2a, 0x09), bench.now);
      case 4:
        return bench.lun.refuse(i, make_sense(SenseKey::unit_attention, 0x3f, 0x03), bench.now);
      case 5:
        return bench.lun.refuse(i, make_sense(SenseKey::aborted_command, 0x47), bench.now);
      case 6:
        return bench.lun.refuse(i, 0x40, bench.now);  // TASK ABORTED
      case 7: {
        if (!is_read_or_write(*bench.lun.waiting[i])) return bench.lun.complete(i, bench.now);
        return bench.lun.complete_short(i, 1, bench.now);
      }
      case 8:
        if (FakeLun::opcode(*bench.lun.waiting[i]) < 0x80 && !is_read_or_write(*bench.lun.waiting[i]))
          return bench.lun.complete(i, bench.now);
        return bench.lun.refuse(i, make_sense(SenseKey::medium_error, 0x11), bench.now);
      default:
        return bench.lun.complete(i, bench.now);
    }
  }

  void collect() {
    bench.deliver();
    hazy = hazy || bench.lun.attention_on_the_way().has_value();
    for (std::size_t i = 0; i < live.size();) {
      Live& item = live[i];
      if (!item.reply->finished) {
        ++i;
        continue;
      }
      check(item);
      if (item.reply->request != nullptr) bench.target->release(*item.reply->request);
      live.erase(live.begin() + static_cast<std::ptrdiff_t>(i));
    }
    hazy = bench.lun.attention_on_the_way().has_value();
  }

  /// Nothing that it has written can be lost any more, unless something newer took its place.
  bool stable(const Reply* reply) {
    for (const auto& [block, number] : written_by[reply]) {
      if (bench.lun.stable_number[block] < number) return false;
    }
    return true;
  }

  void check_flush(const Live& item) {
    const bool told = item.reply->text.find("may have lost") != std::string::npos;
    for (std::size_t i = 0; i < item.acknowledged_before; ++i) {
      Acknowledged& write = acknowledged[i];
      const std::uint32_t client = 1U << item.client;
      if (item.reply->error == Error::none && !hazy && (write.told & client) == 0) REQUIRE(stable(write.reply));
      if (told && (write.told & client) == 0 && !stable(write.reply)) ++lost;
      if (told) write.told |= client;
    }
  }

  void check(const Live& item) {
    CAPTURE(item.id);
    CAPTURE(item.offset);
    CAPTURE(item.length);
    if (item.command == Command::write && item.reply->error == Error::none) REQUIRE(item.filled == item.length);
    if (item.command == Command::flush) check_flush(item);
    if (item.reply->error != Error::none) {
      REQUIRE(item.reply->error == Error::eio);
      if (writes(item.command)) model.doubt(item.offset, item.length, item.id);
      return;
    }
    ++answered_well;
    if (item.command == Command::read && item.comparable) ++compared;
    if (item.command == Command::read && item.comparable) REQUIRE(model.differs(item.offset, item.reply->data) == -1);
    if (!writes(item.command)) return;
    if (item.fua && !hazy) REQUIRE(stable(item.reply));
    if (!item.fua) acknowledged.push_back({.reply = item.reply});
  }
};

}  // namespace

TEST_CASE("export: random requests in any order and trouble of all kinds leave the right bytes") {
  auto random = nbdgw::test::seeded_random();
  std::uint64_t requests = 0;
  std::uint64_t answered_well = 0;
  std::uint64_t compared = 0;
  std::uint64_t fenced = 0;
  std::uint64_t lost = 0;
  for (int round = 0; round < 40; ++round) {
    CAPTURE(round);
    World world(random);
    for (int step = 0; step < 1500; ++step) world.step();
    world.settle();
    requests += world.ids;
    answered_well += world.answered_well;
    compared += world.compared;
    lost += world.lost;
    fenced += world.bench.target->counters().fenced;
  }
  // The trouble must not be such that nothing is tested.
  CHECK(answered_well > requests / 3);
  CHECK(compared > requests / 50);
  CHECK(fenced > requests / 50);
  CHECK(lost > 50);
}
