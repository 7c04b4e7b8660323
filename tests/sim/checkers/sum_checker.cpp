#include "tests/sim/checkers/sum_checker.hpp"

#include <variant>

#include "gateway/net/clock.hpp"
#include "gateway/shard/nbd_client.hpp"

namespace nbdgw::sim {
namespace {

using initiator::RecoveryEvent;
using proto::nbd::Error;

constexpr auto kAllErrors = std::to_array<Error>({Error::none, Error::eperm, Error::eio, Error::enomem, Error::einval,
                                                  Error::enospc, Error::eoverflow, Error::enotsup, Error::eshutdown});
constexpr auto kToldAsLostCache = static_cast<std::uint32_t>(Error::eio);

std::size_t key_of(std::size_t rung, std::size_t outcome) noexcept {
  return rung * initiator::kRungOutcomeCount + outcome;
}

std::uint64_t of(const std::map<std::uint32_t, std::uint64_t>& numbers, std::uint32_t key) {
  const auto found = numbers.find(key);
  return found == numbers.end() ? 0 : found->second;
}

void add(const nbd::Counters& counters, std::map<std::uint32_t, std::uint64_t>& to) {
  for (const Error error : kAllErrors) {
    to[static_cast<std::uint32_t>(error)] += counters.replies[nbd::Counters::index_of(error)];
  }
}

}  // namespace

void SumChecker::wrong(const std::string& what) {
  complaints_.complain("sums", what);
}

void SumChecker::on_event(const shard::EventRecord& record) {
  if (const auto* const failure = std::get_if<bridge::RequestFailure>(&record.event)) {
    Sums& sums = exports_[record.exported];
    // What is told "for several reasons" names the latest of them only.
    (failure->mixed ? sums.told_mixed : sums.told[static_cast<std::uint32_t>(failure->error)]) += failure->count;
  } else if (const auto* const unit = std::get_if<bridge::CacheEvent>(&record.event)) {
    if (unit->kind == bridge::CacheEvent::Kind::told) exports_[record.exported].lost_cache_told += unit->requests;
  } else if (const auto* const rung = std::get_if<RecoveryEvent>(&record.event)) {
    ++rungs_told_[{record.target,
                   key_of(static_cast<std::size_t>(rung->rung), static_cast<std::size_t>(rung->outcome))}];
  }
}

void SumChecker::on_process_ends(const std::vector<std::unique_ptr<shard::Worker>>& workers) {
  ++processes_;
  for (const auto& worker : workers) {
    const shard::ShardView view = worker->view({}, net::steady_now());
    for (const shard::ExportView& exported : view.exports) {
      Sums& sums = exports_[exported.name];
      add(exported.nbd, sums.counted);
      sums.lost_cache_counted += exported.counters.flushes_failed_for_lost_cache;
    }
    // Those for the next process are among nobody's any more.
    for (const auto& client : worker->shard.clients()) {
      if (client->parked() && client->slot() != nullptr)
        add(client->engine().counters(), exports_[client->slot()->name()].counted);
    }
    for (const shard::SessionView& session : view.sessions) {
      for (std::size_t rung = 0; rung < initiator::kRungCount; ++rung) {
        for (std::size_t outcome = 0; outcome < initiator::kRungOutcomeCount; ++outcome) {
          rungs_counted_[{session.target, key_of(rung, outcome)}] += session.counters.rungs[rung][outcome];
        }
      }
    }
  }
}

void SumChecker::check() {
  for (const auto& [name, sums] : exports_) check(name, sums);
  for (const auto& [key, count] : rungs_counted_) {
    const auto found = rungs_told_.find(key);
    const std::uint64_t told = found == rungs_told_.end() ? 0 : found->second;
    if (told >= count) continue;
    const auto rung = static_cast<initiator::Rung>(key.second / initiator::kRungOutcomeCount);
    const auto outcome = static_cast<initiator::RungOutcome>(key.second % initiator::kRungOutcomeCount);
    wrong("target " + key.first + ": " + std::to_string(count) + " times " + initiator::to_string(rung) + ", " +
          initiator::to_string(outcome) + ", were counted, and " + std::to_string(told) + " told");
  }
}

void SumChecker::check(const std::string& name, const Sums& sums) {
  std::uint64_t missing = 0;
  for (const Error kind : kAllErrors) {
    const auto error = static_cast<std::uint32_t>(kind);
    const std::uint64_t clients = of(sums.clients, error);
    const std::uint64_t counted = of(sums.counted, error);
    const std::string what = name + ": " + std::to_string(clients) + " replies with error " + std::to_string(error);
    if (counted < clients && sums.counts)
      wrong(what + " came to clients, and " + std::to_string(counted) + " were counted");
    if (counted > clients && sums.lossless && processes_ == 1)
      wrong(what + " came to clients, and " + std::to_string(counted) + " were counted, though nothing was lost");
    const std::uint64_t told = of(sums.told, error) + (error == kToldAsLostCache ? sums.lost_cache_told : 0);
    if (kind != Error::none && told < clients) missing += clients - told;
    if (missing > sums.told_mixed)
      wrong(what + " came to clients, and " + std::to_string(told) + " were told as events");
  }
  if (sums.lost_cache_told != sums.lost_cache_counted && sums.counts) {
    wrong(name + ": " + std::to_string(sums.lost_cache_counted) + " failures for a lost cache were counted, and " +
          std::to_string(sums.lost_cache_told) + " told as events");
  }
}

}  // namespace nbdgw::sim
