#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/iscsi_target/options.hpp"
#include "proto/iscsi/chap.hpp"
#include "proto/iscsi/constants.hpp"
#include "proto/iscsi/negotiation.hpp"
#include "proto/iscsi/text.hpp"
#include "proto/random.hpp"

namespace nbdgw::iscsi_target {

/// The security stage of a login: AuthMethod None or CHAP, one-way or mutual (RFC 7143 section 12.1).
class SecurityStage {
 public:
  SecurityStage(const ChapOptions& options, proto::RandomSource& random) noexcept
      : options_(options), random_(random) {}

  /// A security key of the request at hand. False: it was there already.
  bool take(proto::iscsi::Key key, std::string_view value);

  /// All keys of the request are there: judges them and writes the answers. On failure reason() says what is wrong.
  /// In a discovery session CHAP is not asked for, but done with initiators that want nothing else.
  bool run(bool discovery, proto::iscsi::TextWriter& out);
  const char* reason() const noexcept { return reason_; }

  /// The initiator is who it should be, or need not be anyone.
  bool is_satisfied(bool discovery) const noexcept {
    return step_ == Step::done || (step_ == Step::method && (discovery || !options_.required()));
  }

 private:
  enum class Step : std::uint8_t {
    method,     // AuthMethod is due
    algorithm,  // CHAP_A is due
    response,   // CHAP_N and CHAP_R are due
    done,
  };
  static constexpr std::size_t kChallengeLength = 32;

  const std::string* value(proto::iscsi::Key key) const noexcept;
  bool fail(const char* reason) noexcept;
  bool choose_method(bool discovery, proto::iscsi::TextWriter& out);
  bool challenge(proto::iscsi::TextWriter& out);
  bool check_response(proto::iscsi::TextWriter& out);
  bool prove_ourselves(proto::iscsi::TextWriter& out);

  const ChapOptions& options_;
  proto::RandomSource& random_;
  Step step_ = Step::method;
  const char* reason_ = "";
  std::vector<std::pair<proto::iscsi::Key, std::string>> keys_;  // of the request at hand
  proto::iscsi::ChapAlgorithm algorithm_{};
  std::uint8_t identifier_ = 0;
  std::array<std::uint8_t, kChallengeLength> challenge_{};
};

}  // namespace nbdgw::iscsi_target
