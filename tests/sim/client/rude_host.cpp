#include "tests/sim/client/rude_host.hpp"

#include <algorithm>

namespace nbdgw::sim {
namespace {

constexpr Micros kBetween = 500 * proto::kMillisecond;
constexpr std::uint32_t kMostCells = 1 << 11;  // 1 MiB
/// Bursts of nonsense, of so many requests at most: a world is about other things, too.
constexpr std::uint32_t kBursts = 20;
constexpr std::uint32_t kMostNonsense = 400;
/// How long answers to nonsense lie unread.
constexpr Micros kUnread = 4 * proto::kSecond;
constexpr std::uint16_t kUnknownFlag = 0x8000;

}  // namespace

const char* to_string(RudeHabits::Manner manner) noexcept {
  switch (manner) {
    case RudeHabits::Manner::announces:
      return "client_only_announces";
    case RudeHabits::Manner::sends_half:
      return "client_sends_half";
    case RudeHabits::Manner::reads_nothing:
      return "client_never_reads";
    case RudeHabits::Manner::asks_nonsense:
      return "client_asks_nonsense";
  }
  return "?";
}

RudeHost::RudeHost(std::uint32_t number, const RudeHabits& habits, Timeline& timeline, Random random,
                   Dialler& dialler, Oracle& oracle, Complaints& complaints)
    : number_(number),
      habits_(habits),
      timeline_(timeline),
      random_(random),
      dialler_(dialler),
      oracle_(oracle),
      complaints_(complaints) {}

std::string RudeHost::name() const {
  return "rude host " + std::to_string(number_) + " of " + habits_.exported;
}

void RudeHost::start() {
  for (std::uint32_t i = 0; i < habits_.links; ++i) connect();
}

void RudeHost::connect() {
  if (healed_) return;
  std::erase_if(links_, [](const auto& each) { return each->state() == NbdLink::State::lost; });
  links_.push_back(std::make_unique<NbdLink>(*this, LinkWishes{habits_.exported, habits_.structured}));
  dialler_.dial(*links_.back(), habits_.room);
  links_.back()->may_be_cut_off();
}

NbdLink* RudeHost::find(std::uint64_t id) noexcept {
  const auto found = std::ranges::find_if(
      links_, [id](const auto& each) { return each->id() == id && each->state() == NbdLink::State::attached; });
  return found == links_.end() ? nullptr : found->get();
}

void RudeHost::heal() {
  healed_ = true;
  if (habits_.manner != RudeHabits::Manner::asks_nonsense) return;
  for (const auto& link : links_) {
    if (link->wire() != nullptr) link->wire()->read(true);
  }
}

void RudeHost::add_without_payload(std::set<std::uint64_t>& links) const {
  if (habits_.manner != RudeHabits::Manner::announces) return;
  for (const auto& link : links_) {
    if (link->state() == NbdLink::State::attached) links.insert(link->id());
  }
}

/// It has had enough, or its machine dies.
void RudeHost::leave(std::uint64_t id) {
  NbdLink* const link = find(id);
  if (link == nullptr || healed_) return;
  using Goodbye = NbdLink::Goodbye;
  link->drop(random_.pick({Goodbye::close, Goodbye::reset, Goodbye::vanish}));
  on_lost(*link, "goes", false);
}

void RudeHost::on_attached(NbdLink& link, std::uint64_t, std::uint16_t) {
  ++seen_;
  begin(link);
  timeline_.after(random_.between(1, 2 * habits_.stays), [this, id = link.id()] { leave(id); });
}

void RudeHost::begin(NbdLink& link) {
  switch (habits_.manner) {
    case RudeHabits::Manner::announces:
      // One WRITE: what would follow is its payload.
      return send_write(link, true);
    case RudeHabits::Manner::sends_half:
      return send_write(link, false);
    case RudeHabits::Manner::reads_nothing:
      link.wire()->read(false);
      for (std::uint32_t i = 0; i < habits_.requests; ++i) {
        const auto cells = static_cast<std::uint32_t>(std::min<std::uint64_t>(kMostCells, oracle_.cells()));
        const std::uint64_t cell = random_.below(oracle_.cells() - cells + 1);
        link.request(NbdCommand::read, 0, ++last_cookie_, cell * Oracle::kCell, cells * Oracle::kCell);
      }
      return;
    case RudeHabits::Manner::asks_nonsense:
      return ask_nonsense(link);
  }
}

/// Any part of what is sent of it may be done, at any time.
void RudeHost::send_write(NbdLink& link, bool announced_only) {
  const auto most = static_cast<std::int64_t>(std::min<std::uint64_t>(kMostCells, oracle_.cells()));
  const auto cells = static_cast<std::uint32_t>(random_.spread(1, most));
  const std::uint64_t cell = random_.below(oracle_.cells() - cells + 1);
  Piece payload;
  if (!announced_only) {
    const Oracle::WriteId write = oracle_.begin_write(cell, cells, {});
    oracle_.may_come_late(write);
    fill(cells);
    oracle_.fill(write, cell, payload_.kept_bytes());
    payload = payload_.view().first(random_.below(payload_.size()));
  }
  link.request(NbdCommand::write, 0, ++last_cookie_, cell * Oracle::kCell, cells * Oracle::kCell, payload);
}

void RudeHost::fill(std::uint32_t cells) {
  payload_.restart(kept_of_payload());
  clear(payload_.grow(std::size_t{cells} * Oracle::kCell));
}

/// Each is answered, and what belongs to it is skipped.
void RudeHost::ask_nonsense(NbdLink& link) {
  if (healed_ || ++bursts_ > kBursts) return;
  if (random_.chance(0.7)) {
    link.wire()->read(false);
    timeline_.after(random_.between(1, kUnread), [this, id = link.id()] { read_again(id); });
  }
  for (std::int64_t left = random_.spread(1, kMostNonsense); left > 0; --left) {
    const std::uint64_t cookie = ++last_cookie_;
    waiting_[cookie] = link.id();
    const auto cells = static_cast<std::uint32_t>(random_.spread(1, 16));
    const std::uint64_t end = oracle_.cells() * Oracle::kCell;
    const std::uint32_t bytes = cells * Oracle::kCell;
    switch (random_.below(4)) {
      case 0:
        link.request(NbdCommand::read, kUnknownFlag, cookie, 0, bytes);
        break;
      case 1:
        link.request(NbdCommand::cache, 0, cookie, 0, bytes);
        break;
      case 2:
        link.request(NbdCommand::flush, kUnknownFlag, cookie, 0, 0);
        break;
      default:
        // Within the disk or far beyond its end: nothing of it may be written.
        const bool beyond = random_.chance(0.5);
        fill(cells);
        link.request(NbdCommand::write, beyond ? 0 : kUnknownFlag, cookie, beyond ? end + (end << 20) : 0, bytes,
                     payload_.view());
        break;
    }
  }
}

void RudeHost::read_again(std::uint64_t id) {
  NbdLink* const link = find(id);
  if (link != nullptr) link->wire()->read(true);
}

Place RudeHost::data_of(NbdLink&, std::uint64_t cookie, std::uint64_t, std::uint32_t) {
  complaints_.complain("client", name() + " is sent data for request " + std::to_string(cookie));
  return {};
}

void RudeHost::on_hole(NbdLink& link, std::uint64_t cookie, std::uint64_t offset, std::uint32_t length) {
  data_of(link, cookie, offset, length);
}

void RudeHost::on_reply(NbdLink& link, std::uint64_t cookie, std::uint32_t error) {
  if (error == 0) return complaints_.complain("client", name() + ": what could not be done has succeeded");
  if (habits_.manner != RudeHabits::Manner::asks_nonsense) return;
  if (waiting_.erase(cookie) == 0) {
    return complaints_.complain("client", name() + ": a reply to what nobody has asked, or that was answered before");
  }
  const bool more = std::ranges::any_of(waiting_, [&](const auto& each) { return each.second == link.id(); });
  if (more) return;
  timeline_.after(random_.between(1, 2 * kBetween), [this, id = link.id()] {
    NbdLink* const again = find(id);
    if (again != nullptr) ask_nonsense(*again);
  });
}

void RudeHost::on_lost(NbdLink& link, const std::string&, bool) {
  std::erase_if(waiting_, [&](const auto& each) { return each.second == link.id(); });
  timeline_.after(kBetween, [this] { connect(); });
}

void RudeHost::on_nonsense(NbdLink&, const std::string& what) {
  complaints_.complain("client", name() + ": " + what);
}

}  // namespace nbdgw::sim
