#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/client/client.hpp"

namespace nbdgw::sim {

/// How a host misbehaves; drawn for each.
struct RudeHabits {
  enum class Manner : std::uint8_t {
    announces,      // WRITEs, no payload of which ever comes
    sends_half,     // of the payload of a WRITE
    reads_nothing,  // asks for much, and takes no answer
    asks_nonsense,  // what is to be refused, much of it at once; reads the answers late
  };
  std::string exported;
  Manner manner = Manner::announces;
  std::uint32_t links = 1;
  std::uint32_t requests = 1;  // on each, at once
  Micros stays = 0;            // with what it has begun; then it goes, and comes again
  std::size_t room = 0;        // of its connections (LinkHabits::room)
  bool structured = false;
};

const char* to_string(RudeHabits::Manner manner) noexcept;

/// A host that takes room of the gateway and gives nothing back. Nobody waits for its requests; what it is told is
/// looked at.
class RudeHost final : public LinkOwner {
 public:
  RudeHost(std::uint32_t number, const RudeHabits& habits, Timeline& timeline, Random random, Dialler& dialler,
           Oracle& oracle, Complaints& complaints);

  void start();
  /// It comes no more, reads what it may read, and stands where it is.
  void heal();
  /// It waits for no answer.
  bool idle() const noexcept { return waiting_.empty(); }
  /// Adds the connections on which it has sent nothing that memory could be needed for.
  void add_without_payload(std::set<std::uint64_t>& links) const;
  const RudeHabits& habits() const noexcept { return habits_; }
  std::string name() const;
  /// Connections on which it has misbehaved.
  std::uint64_t seen() const noexcept { return seen_; }

  void on_attached(NbdLink& link, std::uint64_t size, std::uint16_t flags) override;
  Place data_of(NbdLink& link, std::uint64_t cookie, std::uint64_t offset, std::uint32_t length) override;
  void on_hole(NbdLink& link, std::uint64_t cookie, std::uint64_t offset, std::uint32_t length) override;
  void on_reply(NbdLink& link, std::uint64_t cookie, std::uint32_t error) override;
  std::uint32_t read_length(NbdLink&, std::uint64_t) override { return 0; }
  void on_lost(NbdLink& link, const std::string& why, bool by_gateway) override;
  void on_nonsense(NbdLink& link, const std::string& what) override;

 private:
  void connect();
  void leave(std::uint64_t id);
  void begin(NbdLink& link);
  void send_write(NbdLink& link, bool announced_only);
  void ask_nonsense(NbdLink& link);
  void read_again(std::uint64_t id);
  NbdLink* find(std::uint64_t id) noexcept;
  void fill(std::uint32_t cells);

  const std::uint32_t number_;
  const RudeHabits habits_;
  Timeline& timeline_;
  Random random_;
  Dialler& dialler_;
  Oracle& oracle_;
  Complaints& complaints_;
  std::vector<std::unique_ptr<NbdLink>> links_;
  std::map<std::uint64_t, std::uint64_t> waiting_;  // cookies without an answer, and their links
  std::uint64_t last_cookie_ = 0;
  std::uint64_t seen_ = 0;
  std::uint32_t bursts_ = 0;  // of nonsense
  bool healed_ = false;
  Row payload_;
};

}  // namespace nbdgw::sim
