#include "tests/sim/client/client.hpp"

#include <algorithm>
#include <utility>

namespace nbdgw::sim {
namespace {

constexpr Micros kReconnect = 100 * proto::kMillisecond;
constexpr std::uint32_t kLarge = 64 << 10;
constexpr std::uint64_t kOwnSource = 0x7a65726f;
/// Within that time a gateway that runs has had its turn.
constexpr Micros kTurn = proto::kSecond;

}  // namespace

Client::Client(std::uint32_t number, const ClientHabits& habits, Timeline& timeline, Random random, Dialler& dialler,
               Oracle& oracle, Complaints& complaints, ClientObserver& observer)
    : number_(number),
      habits_(habits),
      timeline_(timeline),
      random_(random),
      own_random_(Random(random).next() ^ kOwnSource),
      dialler_(dialler),
      oracle_(oracle),
      complaints_(complaints),
      observer_(observer),
      ops_(habits.depth) {}

void Client::start() {
  for (std::uint32_t i = 0; i < habits_.links; ++i) connect();
  if (habits_.patience > 0) look_at_patience();
}

void Client::connect() {
  links_.push_back(std::make_unique<NbdLink>(*this, LinkWishes{habits_.exported, habits_.structured}));
  dialler_.dial(*links_.back());
}

void Client::wrong(const std::string& what) {
  complaints_.complain("client", name() + ": " + what);
}

void Client::mix(std::uint64_t value) noexcept {
  fingerprint_ = (fingerprint_ ^ value) * 0x100000001b3;
}

std::string Client::waits_on() const {
  std::string text;
  for (const auto& link : links_) {
    if (link->wire() != nullptr) text += (text.empty() ? "" : "; ") + link->wire()->state();
  }
  return text.empty() ? "no connection" : text;
}

Micros Client::waits_since() const noexcept {
  Micros oldest = proto::kNever;
  for (const Op& op : ops_) {
    if (op.busy) oldest = std::min(oldest, op.asked_at);
  }
  return oldest;
}

std::uint64_t Client::parts_on(const NbdLink& link) const noexcept {
  constexpr std::uint64_t kLeastPart = 64 << 10;
  std::uint64_t parts = 0;
  for (const Op& op : ops_) {
    if (op.busy && op.link == &link) parts += std::uint64_t{op.cells} * Oracle::kCell / kLeastPart + 2;
  }
  return parts;
}

// ---- links ----

void Client::on_attached(NbdLink& link, std::uint64_t size, std::uint16_t flags) {
  if (size / Oracle::kCell < oracle_.cells()) {
    return wrong("the export has " + std::to_string(size) + " bytes, its disk " +
                 std::to_string(oracle_.cells() * Oracle::kCell));
  }
  observer_.on_attached(*this, link);
  export_flags_ = flags;
  for (Op& op : ops_) {
    if (op.busy && op.link == nullptr) send(op, link);
  }
  fill_up();
}

void Client::on_lost(NbdLink& link, const std::string& why, bool) {
  ++losses_;
  mix(why.size());
  observer_.on_lost(*this, link, why);
  for (Op& op : ops_) {
    if (op.busy && op.link == &link) op.link = nullptr;
  }
  timeline_.after(kReconnect, [this, &link] {
    std::erase_if(links_, [&link](const auto& each) { return each.get() == &link; });
    connect();
  });
  for (Op& op : ops_) {
    NbdLink* const other = free_link();
    if (op.busy && op.link == nullptr && other != nullptr) send(op, *other);
  }
}

void Client::on_nonsense(NbdLink&, const std::string& what) {
  wrong(what);
}

/// Links take turns.
NbdLink* Client::free_link() {
  for (std::size_t i = 0; i < links_.size(); ++i) {
    NbdLink& link = *links_[turn_++ % links_.size()];
    if (link.state() == NbdLink::State::attached) return &link;
  }
  return nullptr;
}

/// As the kernel's client: a connection with a request that has no answer for so long is given up, and all on it goes
/// over the others.
void Client::look_at_patience() {
  // In the end it waits: whoever comes again and again before it can have been served never is.
  if (stopped_) return;
  timeline_.after(habits_.patience / 4, [this] { look_at_patience(); });
  for (const Op& op : ops_) {
    if (!op.busy || op.link == nullptr || timeline_.now() - op.asked_at < habits_.patience) continue;
    return give_up(*op.link, NbdLink::Goodbye::close, "no answer");
  }
}

/// What the gateway has not read of it yet it may read, and do, until it sees the end; behind a goodbye at any time.
void Client::give_up(NbdLink& link, NbdLink::Goodbye how, const std::string& why) {
  const bool unread = link.wire()->backlog() > 0;
  for (Op& op : ops_) {
    if (!op.busy || op.link != &link) continue;
    if (op.write != 0 && unread) {
      oracle_.may_come_late(op.write);
      if (how != NbdLink::Goodbye::disconnect) unread_[link.id()].push_back(op.write);
    }
    op.asked_at = timeline_.now();
  }
  link.drop(how);
  on_lost(link, why, false);
}

void Client::on_end_seen(std::uint64_t link) {
  const auto found = unread_.find(link);
  if (found == unread_.end()) return;
  for (const Oracle::WriteId write : found->second) oracle_.comes_until(write, timeline_.now() + kTurn);
  unread_.erase(found);
}

bool Client::lose_a_link(NbdLink::Goodbye how, bool in_the_middle) {
  NbdLink* const link = free_link();
  if (link == nullptr || stopped_ || habits_.spared) return false;
  if (in_the_middle) send_half_a_write(*link);
  give_up(*link, how, "a sudden end");
  return true;
}

/// A WRITE whose payload does not come whole. Any part of it may be done, until the end is seen.
void Client::send_half_a_write(NbdLink& link) {
  Op op;
  draw(op);
  op.cells = std::max(op.cells, 1U);
  op.cell = std::min(op.cell, oracle_.cells() - op.cells);
  op.write = oracle_.begin_write(op.cell, op.cells, {});
  oracle_.may_come_late(op.write);
  oracle_.end_write(op.write, false);
  unread_[link.id()].push_back(op.write);
  fill_payload(op);
  const std::size_t sent = random_.below(payload_.size());
  link.request(NbdCommand::write, 0, ~std::uint64_t{0}, op.cell * Oracle::kCell, op.cells * Oracle::kCell,
               payload_.view().first(sent));
}

bool Client::stall_a_link(Micros time, bool unread) {
  NbdLink* const link = free_link();
  if (link == nullptr || stopped_ || habits_.spared) return false;
  const std::uint64_t id = link->id();
  link->may_be_cut_off();
  unread ? link->wire()->read(false) : link->wire()->stall(true);
  timeline_.after(time, [this, id, unread] {
    for (const auto& each : links_) {
      if (each->wire() == nullptr || each->id() != id) continue;
      unread ? each->wire()->read(true) : each->wire()->stall(false);
    }
  });
  return true;
}

// ---- requests ----

void Client::fill_up() {
  for (Op& op : ops_) {
    if (stopped_ || free_link() == nullptr) return;
    if (!op.busy) begin(op);
  }
}

void Client::plan_next() {
  if (stopped_) return;
  if (habits_.think == 0) return fill_up();
  timeline_.after(random_.between(0, habits_.think), [this] { fill_up(); });
}

void Client::begin(Op& op) {
  op.busy = true;
  ++op.generation;
  ++in_flight_;
  op.asked_at = timeline_.now();
  op.filled = 0;
  op.write = 0;
  op.begun = timeline_.now();
  draw(op);
  const bool reads = op.command == NbdCommand::read;
  if (reads) {
    oracle_.begin_read();
    op.data.restart(kept_of_payload());
    op.data.grow(std::size_t{op.cells} * Oracle::kCell);
  } else if (op.command != NbdCommand::flush) {
    op.write = oracle_.begin_write(op.cell, op.cells,
                                   {.zeroes = op.command != NbdCommand::write,
                                    .maybe = op.command == NbdCommand::trim,
                                    .fua = op.flags == kFua});
  }
  send(op, *free_link());
}

/// Half of the requests go to a small part of the disk, so that they overlap.
void Client::draw(Op& op) {
  const double kind = static_cast<double>(random_.below(1000)) / 1000;
  const double rest = 1 - habits_.reads - habits_.writes;
  op.command = NbdCommand::write_zeroes;
  if (kind < habits_.reads) {
    op.command = NbdCommand::read;
  } else if (kind < habits_.reads + habits_.writes) {
    op.command = NbdCommand::write;
  } else if (kind < habits_.reads + habits_.writes + rest * 0.5) {
    op.command = NbdCommand::flush;
  } else if (kind < habits_.reads + habits_.writes + rest * 0.75) {
    op.command = NbdCommand::trim;
  }
  op.cell = op.cells = 0;
  op.flags = 0;
  if (op.command == NbdCommand::flush) return;
  const bool large = random_.chance(habits_.large) && habits_.most > kLarge;
  std::int64_t bytes = large ? random_.spread(kLarge + 1, habits_.most) : random_.spread(1, kLarge);
  if (habits_.always_most) bytes = habits_.most;
  const std::uint64_t most = std::min<std::uint64_t>(oracle_.cells(), habits_.most / Oracle::kCell);
  op.cells = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(most, (static_cast<std::uint64_t>(bytes) + Oracle::kCell - 1) / Oracle::kCell));
  if (op.command == NbdCommand::write_zeroes && !habits_.spared && random_.chance(0.05)) {
    op.cells = static_cast<std::uint32_t>(oracle_.cells());
    // Some end before the disk does: what is done beyond the end is to be seen.
    if (own_random_.chance(0.5)) op.cells -= static_cast<std::uint32_t>(own_random_.below(oracle_.cells() / 8));
  }
  const std::uint64_t places = oracle_.cells() - op.cells + 1;
  op.cell = random_.below(random_.chance(0.5) ? places : std::min<std::uint64_t>(places, 256));
  if (op.command != NbdCommand::read && random_.chance(habits_.fua)) op.flags = kFua;
}

std::uint64_t Client::cookie_of(const Op& op) const noexcept {
  return (std::uint64_t{op.generation} << 16) | static_cast<std::uint64_t>(&op - ops_.data());
}

AskedRequest Client::asked(const Op& op) const noexcept {
  return {.command = op.command,
          .flags = op.flags,
          .cell = op.cell,
          .cells = op.cells,
          .cookie = cookie_of(op),
          .link = op.link->id(),
          .asked_at = op.asked_at,
          .sent_at = op.sent_at};
}

void Client::send(Op& op, NbdLink& link) {
  op.link = &link;
  op.sent_at = timeline_.now();
  op.filled = 0;
  observer_.on_request(*this, asked(op));
  Piece payload;
  if (op.command == NbdCommand::write) {
    fill_payload(op);
    payload = payload_.view();
  }
  link.request(op.command, op.flags, cookie_of(op), op.cell * Oracle::kCell, op.cells * Oracle::kCell, payload);
}

/// What a WRITE writes.
void Client::fill_payload(const Op& op) {
  payload_.restart(kept_of_payload());
  payload_.grow(std::size_t{op.cells} * Oracle::kCell);
  oracle_.fill(op.write, op.cell, payload_.kept_bytes());
}

Client::Op* Client::find(NbdLink& link, std::uint64_t cookie) {
  const std::size_t place = cookie & 0xffff;
  if (place < ops_.size()) {
    Op& op = ops_[place];
    if (op.busy && op.link == &link && cookie_of(op) == cookie) return &op;
  }
  wrong("a reply to a request that there is not, or that was answered before: cookie " + std::to_string(cookie));
  return nullptr;
}

std::uint32_t Client::read_length(NbdLink& link, std::uint64_t cookie) {
  const Op* const op = find(link, cookie);
  return op != nullptr && op->command == NbdCommand::read ? op->cells * Oracle::kCell : 0;
}

Place Client::data_of(NbdLink& link, std::uint64_t cookie, std::uint64_t offset, std::uint32_t length) {
  Op* const op = find(link, cookie);
  if (op == nullptr) return {};
  const std::uint64_t begin = offset == kFromStart ? 0 : offset - op->cell * Oracle::kCell;
  if (op->command != NbdCommand::read || begin > op->data.size() || op->data.size() - begin < length) {
    wrong("data beyond what was asked for");
    return {};
  }
  op->filled += length;
  return op->data.place().subspan(begin, length);
}

void Client::on_hole(NbdLink& link, std::uint64_t cookie, std::uint64_t offset, std::uint32_t length) {
  clear(data_of(link, cookie, offset, length));
}

void Client::on_reply(NbdLink& link, std::uint64_t cookie, std::uint32_t error) {
  Op* const op = find(link, cookie);
  if (op == nullptr) return;
  if (error == 0 && op->filled != op->data.size() && op->command == NbdCommand::read) {
    return wrong("a READ is answered with " + std::to_string(op->filled) + " of " + std::to_string(op->data.size()) +
                 " bytes");
  }
  finish(*op, error);
  plan_next();
}

void Client::finish(Op& op, std::uint32_t error) {
  mix(cookie_of(op) ^ (std::uint64_t{error} << 48) ^ static_cast<std::uint64_t>(timeline_.now()));
  observer_.on_reply(*this, asked(op), error);
  op.busy = false;
  op.link = nullptr;
  --in_flight_;
  ++done_;
  bytes_ += std::uint64_t{op.cells} * Oracle::kCell;
  if (op.cells > kLarge / Oracle::kCell) ++large_;
  if (error != 0) ++errors_[error];
  if (op.command == NbdCommand::read) {
    const std::string what = oracle_.end_read(op.begun, op.cell, error == 0 ? op.data.kept_bytes() : Bytes());
    if (!what.empty()) wrong(what);
  } else if (op.write != 0) {
    oracle_.end_write(op.write, error == 0);
    if (error == 0) observer_.on_written(*this, op.cell, op.cells);
  } else if (error == 0) {
    oracle_.flushed(op.begun);
  }
}

}  // namespace nbdgw::sim
