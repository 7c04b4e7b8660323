#include "gateway/iscsi_target/login_security.hpp"

#include <algorithm>

namespace nbdgw::iscsi_target {

using namespace proto::iscsi;

bool SecurityStage::fail(const char* reason) noexcept {
  reason_ = reason;
  return false;
}

bool SecurityStage::take(Key key, std::string_view text) {
  if (value(key) != nullptr) return fail("a security key was given twice");
  keys_.emplace_back(key, text);
  return true;
}

const std::string* SecurityStage::value(Key key) const noexcept {
  const auto found = std::find_if(keys_.begin(), keys_.end(), [&](const auto& pair) { return pair.first == key; });
  return found == keys_.end() ? nullptr : &found->second;
}

bool SecurityStage::run(bool discovery, TextWriter& out) {
  bool good = true;
  if (step_ == Step::method && value(Key::auth_method) != nullptr) {
    good = choose_method(discovery, out);
    // Some initiators send CHAP_A along with the method.
    if (good && step_ == Step::algorithm && value(Key::chap_a) != nullptr) good = challenge(out);
  } else if (step_ == Step::algorithm && value(Key::chap_a) != nullptr) {
    good = challenge(out);
  } else if (step_ == Step::response && value(Key::chap_r) != nullptr) {
    good = check_response(out);
  } else if (!keys_.empty()) {
    good = fail("security keys that are not due at this point of the login");
  }
  keys_.clear();
  return good;
}

bool SecurityStage::choose_method(bool discovery, TextWriter& out) {
  const std::string& offered = *value(Key::auth_method);
  const bool none = list_contains(offered, "None");
  const bool chap = list_contains(offered, "CHAP");
  if (options_.required() && chap && (!discovery || !none)) {
    step_ = Step::algorithm;
    return out.add("AuthMethod", "CHAP");
  }
  if (none && (discovery || !options_.required())) {
    step_ = Step::done;
    return out.add("AuthMethod", "None");
  }
  out.add("AuthMethod", "Reject");
  return fail(options_.required() ? "the target wants CHAP, which the initiator does not offer"
                                  : "the initiator insists on an authentication that the target is not set up for");
}

bool SecurityStage::challenge(TextWriter& out) {
  const auto algorithm = choose_chap_algorithm(*value(Key::chap_a), options_.algorithms);
  if (!algorithm) return fail("no CHAP algorithm in common");
  algorithm_ = *algorithm;
  random_.fill({&identifier_, 1});
  random_.fill(challenge_);
  step_ = Step::response;
  return out.add_number("CHAP_A", static_cast<unsigned>(algorithm_)) && out.add_number("CHAP_I", identifier_) &&
         out.add("CHAP_C", encode_hex(challenge_));
}

bool SecurityStage::check_response(TextWriter& out) {
  const std::string* name = value(Key::chap_n);
  if (name == nullptr) return fail("CHAP_R without CHAP_N");
  const auto expected = chap_response(algorithm_, identifier_, options_.secret, challenge_);
  if (!expected) return fail("the crypto library does not offer the CHAP algorithm");
  std::array<std::uint8_t, kMaxChapDigestLength> given{};
  const auto length = decode_binary(*value(Key::chap_r), given);
  const bool right = length && constant_time_equal(std::span(given).first(*length), expected->view());
  if (*name != options_.user || !right) return fail("CHAP: wrong user or secret");
  if (value(Key::chap_i) != nullptr || value(Key::chap_c) != nullptr) {
    if (!prove_ourselves(out)) return false;
  }
  step_ = Step::done;
  return true;
}

/// Mutual CHAP: the initiator has sent a challenge of its own.
bool SecurityStage::prove_ourselves(TextWriter& out) {
  const std::string* number = value(Key::chap_i);
  const std::string* text = value(Key::chap_c);
  if (number == nullptr || text == nullptr) return fail("mutual CHAP needs both CHAP_I and CHAP_C");
  if (!options_.mutual()) return fail("the initiator asks for mutual CHAP, which the target has no secret for");
  const auto identifier = parse_number(*number, 0, 255);
  std::vector<std::uint8_t> theirs(kMaxChapChallengeLength);
  const auto length = decode_binary(*text, theirs);
  if (!identifier || !length) return fail("a malformed CHAP_I or CHAP_C");
  theirs.resize(*length);
  // Section 9.2.1: a challenge that is our own would make us answer for the initiator.
  if (constant_time_equal(theirs, challenge_))
    return fail("the initiator has sent the target's own CHAP challenge back");
  const auto response =
      chap_response(algorithm_, static_cast<std::uint8_t>(identifier.value), options_.mutual_secret, theirs);
  if (!response) return fail("the crypto library does not offer the CHAP algorithm");
  return out.add("CHAP_N", options_.mutual_user) && out.add("CHAP_R", encode_hex(response->view()));
}

}  // namespace nbdgw::iscsi_target
