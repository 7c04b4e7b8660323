#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gateway/shard/worker.hpp"
#include "tests/sim/gateway.hpp"
#include "tests/sim/oracle.hpp"

namespace nbdgw::sim {

/// Every limit is kept, as far as the views tell: payload memory (ShardOptions::memory), requests and commands of an
/// export, tasks and connections of a session, clients. And when the gateway has been at rest and has ended, it holds
/// nothing any more: no memory, no request, no descriptor. What is never given back would be missing some day. (A
/// process that ends with requests in flight leaves them as they are: the system takes their memory.)
///
/// That a target has no more commands than its window allows is the protocol checker's rule.
class LimitChecker {
 public:
  LimitChecker(Complaints& complaints, const GatewaySetup& setup) : complaints_(complaints), setup_(setup) {}

  /// Now and then.
  void look(const std::vector<std::unique_ptr<shard::Worker>>& workers, Micros now);
  /// The last process has ended, after all was at rest. It is there yet.
  void on_end(const std::vector<std::unique_ptr<shard::Worker>>& workers);
  /// Now it is no more.
  void on_last_end(const Network& network);

 private:
  void look(const shard::ExportView& exported);
  void look(const shard::SessionView& session);
  void keeps(const std::string& what, std::uint64_t value, std::uint64_t limit);

  Complaints& complaints_;
  const GatewaySetup& setup_;
};

}  // namespace nbdgw::sim
