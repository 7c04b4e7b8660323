#pragma once

#include <cstdint>
#include <set>
#include <utility>

#include "tests/sim/oracle.hpp"

namespace nbdgw::sim {

/// What costs a session each time is given up (ARCHITECTURE.md, "The ladder"): a command that was under way at more
/// losses than it has retries, over more than kLossPatience, ends with an error and is not sent again.
///
/// Judged where a target has a block that no READ of it survives (MediumOptions::deadly_block), and for as long as
/// one request is unanswered that may lead to such a READ: then each loss is that one's. That it takes nobody along
/// is for PatienceChecker to judge, of all requests that this one is not about.
class LossChecker {
 public:
  /// `retries`: the most that the exports ever have.
  LossChecker(Complaints& complaints, const Timeline& timeline, std::uint32_t retries)
      : complaints_(complaints), timeline_(timeline), retries_(retries) {}

  /// A client asks for something that may take a READ of a deadly block.
  void on_request(std::uint32_t client, std::uint64_t cookie);
  /// It, or something else, is answered.
  void on_reply(std::uint32_t client, std::uint64_t cookie);
  /// What was asked for there is asked for again, by who knows whom.
  void on_lost() noexcept { unsure_ = true; }
  /// A READ has cost its session.
  void on_deadly();

 private:
  struct Row {
    std::uint32_t losses = 0;
    Micros first_at = 0;
    Micros last_at = 0;
  };

  Complaints& complaints_;
  const Timeline& timeline_;
  const std::uint32_t retries_;
  std::set<std::pair<std::uint32_t, std::uint64_t>> asked_;  // client and cookie
  Row row_;
  bool unsure_ = false;
};

}  // namespace nbdgw::sim
