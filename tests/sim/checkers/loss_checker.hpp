#pragma once

#include <cstdint>
#include <set>
#include <utility>

#include "tests/sim/client/client.hpp"
#include "tests/sim/gateway.hpp"
#include "tests/sim/site.hpp"

namespace nbdgw::sim {

/// What costs a session each time is given up (ARCHITECTURE.md, "The ladder"): a command that was under way at more
/// losses than it has retries, over more than kLossPatience, ends with an error and is not sent again.
///
/// Judged where a target has a block that no READ of it survives (MediumOptions::deadly_block), and for as long as
/// one request is unanswered that may lead to such a READ: then each loss is that one's. That it takes nobody along
/// is for PatienceChecker to judge, of all requests that this one is not about.
class LossChecker {
 public:
  LossChecker(Complaints& complaints, const Timeline& timeline, const Site& site)
      : complaints_(complaints), timeline_(timeline), site_(site) {}

  /// `most`: with the most retries that the exports ever have.
  void begin(const GatewaySetup::Target& most);

  /// It may take a READ of a deadly block.
  bool is_about(const Client& client, const AskedRequest& request) const noexcept;

  void on_request(const Client& client, const AskedRequest& request);
  void on_reply(const Client& client, const AskedRequest& request);
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
  const Site& site_;
  std::uint32_t retries_ = 0;
  std::set<std::pair<std::uint32_t, std::uint64_t>> asked_;  // client and cookie
  Row row_;
  bool unsure_ = false;
};

}  // namespace nbdgw::sim
