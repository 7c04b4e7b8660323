#include "gateway/bridge/failures.hpp"

#include <algorithm>
#include <utility>

namespace nbdgw::bridge {

namespace {

using proto::scsi::Status;

bool same_sense(const std::optional<proto::scsi::Sense>& a, const std::optional<proto::scsi::Sense>& b) noexcept {
  if (!a || !b) return !a && !b;
  return a->key == b->key && a->additional() == b->additional();
}

bool same_end(const std::optional<FailedCommand>& a, const std::optional<FailedCommand>& b) noexcept {
  if (!a || !b) return !a && !b;
  return a->outcome == b->outcome && a->status == b->status && same_sense(a->sense, b->sense);
}

/// Texts are static, and those of one cause are one.
bool same_kind(const RequestFailure& a, const RequestFailure& b) noexcept {
  return a.request == b.request && a.error == b.error && a.text == b.text && same_end(a.command, b.command);
}

}  // namespace

std::string explain(const RequestFailure& failure) {
  const std::string told = failure.text != nullptr ? failure.text : "no reason is known";
  if (!failure.command || failure.command->outcome != initiator::Outcome::completed) return told;
  const auto status = static_cast<Status>(failure.command->status);
  if (status == Status::good) return told;
  const std::string name = proto::scsi::describe_status(failure.command->status);
  if (status != Status::check_condition) return name + ": " + told;
  if (!failure.command->sense) return name + " without valid sense data";
  return name + ": " + proto::scsi::describe(*failure.command->sense);
}

void Failures::note(const RequestFailure& failure) {
  if (kinds_.empty()) kinds_.reserve(kKinds + 1);
  auto place = std::ranges::find_if(kinds_, [&](const Kind& kind) { return same_kind(kind.latest, failure); });
  if (place == kinds_.end() && kinds_.size() > kKinds) place = kinds_.end() - 1;
  if (place == kinds_.end()) {
    kinds_.emplace_back();
    place = kinds_.end() - 1;
  }
  const bool mixed = kinds_.size() > kKinds && place == kinds_.end() - 1;
  const bool was_mixed = place->untold > 0 && place->latest.mixed;
  place->latest = failure;
  place->latest.mixed = mixed || was_mixed;
  ++place->untold;
  if (place->told_at != proto::kNever || place->ready) return;
  place->ready = true;
  ++ready_;
}

bool Failures::next(RequestFailure& failure, proto::Micros now) noexcept {
  const auto place = std::ranges::find_if(kinds_, &Kind::ready);
  if (place == kinds_.end()) return false;
  --ready_;
  place->ready = false;
  place->told_at = now;
  due_ = std::min(due_, now + kInterval);
  failure = place->latest;
  failure.count = std::exchange(place->untold, 0);
  failure.over = std::exchange(place->over, 0);
  return true;
}

void Failures::make_ready(Kind& kind, proto::Micros now) noexcept {
  if (kind.ready || kind.untold == 0) return;
  kind.over = now - kind.told_at;
  kind.ready = true;
  ++ready_;
}

void Failures::on_deadline(proto::Micros now) noexcept {
  if (now < due_) return;
  // One that waits to be fetched stays until it was.
  std::erase_if(
      kinds_, [now](const Kind& kind) { return !kind.ready && kind.untold == 0 && kind.told_at + kInterval <= now; });
  due_ = proto::kNever;
  for (Kind& kind : kinds_) {
    if (kind.told_at == proto::kNever) continue;
    if (kind.told_at + kInterval <= now) {
      make_ready(kind, now);
    } else {
      due_ = std::min(due_, kind.told_at + kInterval);
    }
  }
}

void Failures::tell_all(proto::Micros now) noexcept {
  for (Kind& kind : kinds_) {
    if (kind.told_at != proto::kNever) make_ready(kind, now);
  }
}

}  // namespace nbdgw::bridge
