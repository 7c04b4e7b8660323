#pragma once

#include <string>
#include <string_view>

#include "gateway/initiator/login.hpp"
#include "tests/unit/initiator/peer.hpp"

namespace nbdgw::test {

/// A login exchange without a session, answered by hand.
struct LoginRun {
  explicit LoginRun(const initiator::SessionSettings& with = default_settings(),
                    const initiator::LoginIdentity& identity = {.isid = kTestIsid}, std::uint64_t seed = 1)
      : settings(with), random(seed), login(settings, identity, random) {}

  using Step = initiator::Login::Step;
  using Stage = proto::iscsi::LoginStage;

  Step respond(const proto::iscsi::LoginResponse& response, const Keys& keys = {}) {
    const Bytes text = to_text(keys);
    return login.on_response(response, {reinterpret_cast<const char*>(text.data()), text.size()});
  }
  Step security(bool transit, const Keys& keys = {}) {
    return respond({.transit = transit,
                    .current_stage = Stage::security,
                    .next_stage = transit ? Stage::operational : Stage::security},
                   keys);
  }
  Step operational(bool transit, const Keys& keys = {}) {
    return respond({.transit = transit,
                    .current_stage = Stage::operational,
                    .next_stage = transit ? Stage::full_feature : Stage::security,
                    .tsih = 7},
                   keys);
  }
  /// Through the security stage without authentication.
  void to_operational() {
    REQUIRE(security(true, {{"AuthMethod", "None"}}) == Step::send);
    REQUIRE(login.request().current_stage == Stage::operational);
  }
  /// Answers to everything that a leading login offers.
  static Keys full_answer() {
    const TargetKeys table;
    Keys keys(table.answers.begin(), table.answers.end());
    keys.emplace_back("MaxRecvDataSegmentLength", "8192");
    return keys;
  }
  Keys offered() const { return to_keys(login.text()); }

  initiator::SessionSettings settings;
  SeededSource random;
  initiator::Login login;
};

/// The answer with one key replaced, or left out if `value` is empty.
inline Keys altered(Keys keys, std::string_view key, std::string_view value) {
  std::erase_if(keys, [&](const auto& pair) { return pair.first == key; });
  if (!value.empty()) keys.emplace_back(std::string(key), std::string(value));
  return keys;
}

}  // namespace nbdgw::test
