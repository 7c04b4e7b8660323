#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/client/client_observer.hpp"
#include "tests/sim/client/nbd_link.hpp"
#include "tests/sim/oracle.hpp"
#include "tests/sim/random.hpp"
#include "tests/sim/timeline.hpp"

namespace nbdgw::sim {

/// Makes connections to the gateway for clients.
class Dialler {
 public:
  /// `room`: of the connection (LinkHabits::room); 0: as all have it.
  virtual void dial(NbdLink& link, std::size_t room = 0) = 0;

 protected:
  ~Dialler() = default;
};

/// How a client behaves; drawn for each.
struct ClientHabits {
  std::string exported;
  std::uint32_t links = 1;
  std::uint32_t depth = 8;  // requests in flight, over all links
  bool structured = false;
  Micros think = 0;                  // between an answer and the next request, up to so much
  double reads = 0.5, writes = 0.4;  // of requests; of the rest flushes, trims and zeroes
  double large = 0.3;                // of reads and writes: above 64 KiB
  std::uint32_t most = 1 << 20;      // bytes of a request
  bool always_most = false;          // they all are that large
  double fua = 0.05;
  Micros patience = 0;  // 0: waits for ever; else a link whose request has no answer is given up
  bool spared = false;  // nothing happens to its links
};

/// A host that uses one export as the kernel's client does: its requests go over several connections; what was on one
/// that is lost is sent again over another one. It knows what may come back, and complains of everything else.
class Client final : public LinkOwner {
 public:
  Client(std::uint32_t number, const ClientHabits& habits, Timeline& timeline, Random random, Dialler& dialler,
         Oracle& oracle, Complaints& complaints, ClientObserver& observer);

  void start();
  /// What becomes of clients. False: there is no link to which it could happen.
  /// One goes; `in_the_middle`: of the payload of a WRITE.
  bool lose_a_link(NbdLink::Goodbye how, bool in_the_middle);
  /// One stands still for so long, or (`unread`) its replies are not read.
  bool stall_a_link(Micros time, bool unread);

  /// The gateway's system knows of the end of that connection. What lies unread in it is begun no more, but where the
  /// client has said goodbye.
  void on_end_seen(std::uint64_t link);

  /// Its export goes, within a time that may be too short for what is on its way to it.
  void is_sent_away() noexcept {
    for (const auto& link : links_) link->may_be_cut_off();
  }

  /// Begins nothing new, and waits for what it has begun.
  void stop() noexcept { stopped_ = true; }
  bool idle() const noexcept { return in_flight_ == 0; }
  /// Since when its oldest request waits; kNever: none does.
  Micros waits_since() const noexcept;
  /// Into how many commands its requests in flight on that link are cut, at most.
  std::uint64_t parts_on(const NbdLink& link) const noexcept;
  /// What its requests in flight wait on, for people.
  std::string waits_on() const;
  std::uint32_t number() const noexcept { return number_; }
  std::string name() const { return "client " + std::to_string(number_) + " of " + habits_.exported; }
  const ClientHabits& habits() const noexcept { return habits_; }
  /// Of its disk.
  const Oracle& oracle() const noexcept { return oracle_; }

  std::uint64_t done() const noexcept { return done_; }
  std::uint64_t bytes() const noexcept { return bytes_; }
  /// Of those that are done, above 64 KiB.
  std::uint64_t large() const noexcept { return large_; }
  const std::map<std::uint32_t, std::uint64_t>& errors() const noexcept { return errors_; }
  std::uint64_t losses() const noexcept { return losses_; }
  /// Takes part in the run's fingerprint.
  std::uint64_t fingerprint() const noexcept { return fingerprint_; }

  void on_attached(NbdLink& link, std::uint64_t size, std::uint16_t flags) override;
  Place data_of(NbdLink& link, std::uint64_t cookie, std::uint64_t offset, std::uint32_t length) override;
  void on_hole(NbdLink& link, std::uint64_t cookie, std::uint64_t offset, std::uint32_t length) override;
  void on_reply(NbdLink& link, std::uint64_t cookie, std::uint32_t error) override;
  std::uint32_t read_length(NbdLink& link, std::uint64_t cookie) override;
  void on_lost(NbdLink& link, const std::string& why, bool by_gateway) override;
  void on_nonsense(NbdLink& link, const std::string& what) override;

 private:
  struct Op {
    NbdCommand command{};
    bool busy = false;
    std::uint16_t flags = 0;
    std::uint32_t generation = 0;  // of its place: a cookie is never used twice
    std::uint64_t cell = 0;
    std::uint32_t cells = 0;
    Oracle::WriteId write = 0;
    Micros begun = 0;  // of a read, for the oracle
    Micros asked_at = 0;
    Micros sent_at = 0;        // over its link
    NbdLink* link = nullptr;   // that carries it; null: it waits for one
    std::uint32_t filled = 0;  // bytes of data that have come
    Row data;
  };

  void connect();
  void fill_up();
  void plan_next();
  void begin(Op& op);
  void draw(Op& op);
  void send(Op& op, NbdLink& link);
  void fill_payload(const Op& op);
  AskedRequest asked(const Op& op) const noexcept;
  void finish(Op& op, std::uint32_t error);
  Op* find(NbdLink& link, std::uint64_t cookie);
  NbdLink* free_link();
  std::uint64_t cookie_of(const Op& op) const noexcept;
  void look_at_patience();
  void give_up(NbdLink& link, NbdLink::Goodbye how, const std::string& why);
  void send_half_a_write(NbdLink& link);
  void wrong(const std::string& what);
  void mix(std::uint64_t value) noexcept;

  const std::uint32_t number_;
  const ClientHabits habits_;
  Timeline& timeline_;
  Random random_;
  Random own_random_;  // for what shifts nothing else
  Dialler& dialler_;
  Oracle& oracle_;
  Complaints& complaints_;
  ClientObserver& observer_;
  std::vector<std::unique_ptr<NbdLink>> links_;
  std::vector<Op> ops_;
  std::map<std::uint64_t, std::vector<Oracle::WriteId>> unread_;  // by the connection that was given up
  std::uint32_t in_flight_ = 0;
  std::uint16_t export_flags_ = 0;
  std::size_t turn_ = 0;
  bool stopped_ = false;
  std::uint64_t done_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t large_ = 0;
  std::uint64_t losses_ = 0;
  std::map<std::uint32_t, std::uint64_t> errors_;
  std::uint64_t fingerprint_ = 0;
  Row payload_;
};

}  // namespace nbdgw::sim
