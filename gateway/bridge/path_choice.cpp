#include "gateway/bridge/path_choice.hpp"

#include <algorithm>

#include "gateway/bridge/export.hpp"

namespace nbdgw::bridge {

std::string PathChoice::reason_to_leave(std::span<Export* const> exports, std::size_t portals, proto::Micros now) {
  if (now < not_before_) return {};
  const Export* unusable = nullptr;
  for (const Export* exported : exports) {
    // One that is being probed is looked at again in a moment.
    if (exported->state() == ExportState::online || exported->state() == ExportState::probing) return {};
    if (unusable == nullptr && exported->path_unusable()) unusable = exported;
  }
  if (unusable == nullptr) return {};
  // It was quiet for as long as the pause, so this is another matter than the last time.
  if (now >= not_before_ + pause_) {
    left_ = 0;
    pause_ = kFirstPause;
  }
  not_before_ = now;
  if (++left_ >= std::max<std::size_t>(1, portals - 1)) {  // all others
    left_ = 0;
    not_before_ = now + pause_;
    pause_ = std::min(2 * pause_, kLongestPause);
  }
  return "export " + unusable->info().name + " cannot be used there: " + unusable->status().reason;
}

}  // namespace nbdgw::bridge
