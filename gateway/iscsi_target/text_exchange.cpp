#include "gateway/iscsi_target/text_exchange.hpp"

#include <algorithm>

#include "gateway/iscsi_target/server.hpp"

namespace nbdgw::iscsi_target {

using namespace proto::iscsi;

namespace {

/// Of one answer, which is kept until all of it has been fetched. SendTargets=All may be asked for again and again in
/// one request.
constexpr std::size_t kMaxAnswerLength = 4 * 1024 * 1024;

}  // namespace

void TextExchange::reset() noexcept {
  incoming_.clear();
  answer_.clear();
  sent_ = 0;
  answering_ = false;
  open_ = false;
}

TextExchange::Reply TextExchange::on_request(const TextRequest& request, std::string_view text, const Server& server,
                                             const Session& session, std::string_view address,
                                             ConnectionParameters& parameters) {
  if (request.final && request.continues) return {.violation = "a text request with both the F and the C bit"};
  if (request.ttt == kReservedTag) {
    reset();  // a new exchange ends an old one (section 11.10.4)
  } else if (!open_ || request.ttt != ttt_) {
    return {.violation = "a text request with a target transfer tag that was not given out"};
  }
  const std::uint32_t limit = parameters.peer_max_recv_data_segment_length;
  if (answering_ && sent_ < answer_.size()) {
    if (!text.empty()) return {.violation = "a text request with keys while the answer is not complete"};
    return next_piece(request.final, limit);
  }
  answering_ = false;
  if (!incoming_.append(text)) return {.violation = "more text than a request may have"};
  if (request.continues) return next_piece(false, limit);
  answer_.clear();
  sent_ = 0;
  if (const char* violation = answer_pairs(server, session, address, parameters)) return {.violation = violation};
  incoming_.clear();
  answering_ = true;
  return next_piece(request.final, limit);
}

TextExchange::Reply TextExchange::next_piece(bool initiator_is_done, std::uint32_t limit) {
  Reply reply;
  const std::size_t n = std::min<std::size_t>(answer_.size() - sent_, limit);
  reply.text = std::string_view(answer_).substr(sent_, n);
  sent_ += n;
  reply.continues = sent_ < answer_.size();
  reply.final = initiator_is_done && !reply.continues;
  open_ = !reply.final;
  if (open_) reply.ttt = ttt_ = (ttt_ + 1) & 0x7fffffff;
  return reply;
}

void TextExchange::add(std::string_view key, std::string_view value) {
  answer_.append(key).append("=").append(value).push_back('\0');
}

const char* TextExchange::answer_pairs(const Server& server, const Session& session, std::string_view address,
                                       ConnectionParameters& parameters) {
  TextReader reader(incoming_.text());
  KeyValue pair;
  while (reader.next(pair)) {
    const Key key = find_key(pair.key);
    switch (key) {
      case Key::send_targets:
        send_targets(pair.value, server, session, address);
        break;
      case Key::max_recv_data_segment_length: {
        const auto length = parse_number(pair.value, rule(key).minimum, rule(key).maximum);
        if (!length) return "an impossible MaxRecvDataSegmentLength";
        parameters.peer_max_recv_data_segment_length = length.value;
        break;
      }
      case Key::initiator_alias:
        break;
      case Key::unknown:
        if (pair.value != "NotUnderstood") add(pair.key, "NotUnderstood");
        break;
      default:
        add(pair.key, "Reject");  // login keys
        break;
    }
    if (answer_.size() > kMaxAnswerLength) return "a text request whose answer is too long";
  }
  return reader.error() == TextError::none ? nullptr : proto::iscsi::describe(reader.error());
}

/// Section 13.3 and appendix C: All in discovery sessions only; nothing in normal ones means the target at hand.
void TextExchange::send_targets(std::string_view which, const Server& server, const Session& session,
                                std::string_view address) {
  if (!session.is_discovery() && which != "" && which != session.identity().target->name)
    return add("SendTargets", "Reject");
  if (session.is_discovery() && which.empty()) return add("SendTargets", "Reject");
  const std::string portal =
      std::string(server.options().advertised_address.empty() ? address : server.options().advertised_address) + "," +
      std::to_string(session.identity().portal_group_tag);
  for (const TargetNode& target : server.targets()) {
    const bool wanted =
        which == "All" || which == target.name || (which.empty() && session.identity().target == &target);
    if (!wanted) continue;
    add("TargetName", target.name);
    add("TargetAddress", portal);
  }
}

}  // namespace nbdgw::iscsi_target
