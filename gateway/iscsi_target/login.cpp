#include "gateway/iscsi_target/login.hpp"

#include "gateway/iscsi_target/server.hpp"

namespace nbdgw::iscsi_target {

using namespace proto::iscsi;

Login::Login(Server& server, std::uint16_t portal_group_tag)
    : server_(server), portal_group_tag_(portal_group_tag), security_(server.options().chap, server.random()) {}

Login::Reply Login::fail(LoginStatus status, std::string reason) {
  outgoing_.clear();
  Reply reply;
  reply.status = status;
  reply.reason = std::move(reason);
  reply.current_stage = stage_;
  return reply;
}

Login::Reply Login::on_request(const LoginRequest& request, std::string_view text) {
  outgoing_.clear();
  if (auto failed = check_request(request)) return *failed;
  if (!incoming_.append(text)) return fail(LoginStatus::initiator_error, "more text than a login may have");
  Reply reply;
  reply.current_stage = stage_;
  if (request.continues) return reply;  // an empty answer asks for the rest (section 6.2)

  if (auto failed = read_pairs()) return *failed;
  if (!identified_) {
    if (auto failed = identify()) return *failed;
    identified_ = true;
  }
  if (stage_ == LoginStage::security && !security_.run(names_.discovery, outgoing_))
    return fail(LoginStatus::authentication_failure, security_.reason());
  return move_on(request);
}

/// What has to be the same in all requests of a login, and which stage may be asked for (sections 11.12.1
/// to 11.12.6).
std::optional<Login::Reply> Login::check_request(const LoginRequest& request) {
  if (++requests_ > kMaxLoginRequests)
    return fail(LoginStatus::initiator_error, "a login that does not come to an end");
  const bool stage_known =
      request.current_stage == LoginStage::security || request.current_stage == LoginStage::operational;
  if (!seen_) {
    seen_ = first_ = request;
    stage_ = request.current_stage;
    if (request.version_min != 0)
      return fail(LoginStatus::unsupported_version, "the initiator wants a protocol version above 0");
  }
  if (!stage_known || request.current_stage != stage_)
    return fail(LoginStatus::invalid_during_login, "a login request for another stage than the one that is on");
  if (request.isid != first_.isid || request.tsih != first_.tsih || request.cid != first_.cid ||
      request.itt != first_.itt)
    return fail(LoginStatus::invalid_during_login, "ISID, TSIH, CID or task tag changed within a login");
  if (request.transit && request.continues)
    return fail(LoginStatus::invalid_during_login, "a login request with both the T and the C bit");
  if (request.transit && (request.next_stage <= stage_ || (request.next_stage != LoginStage::operational &&
                                                           request.next_stage != LoginStage::full_feature)))
    return fail(LoginStatus::invalid_during_login, "a login request for a stage that cannot come next");
  return std::nullopt;
}

std::optional<Login::Reply> Login::read_pairs() {
  // Operational keys can be judged only once it is known what kind of session this will be: names first.
  TextReader names(incoming_.text());
  KeyValue pair;
  while (names.next(pair)) {
    if (!identified_) take_name(find_key(pair.key), pair.value);
  }
  if (names.error() != TextError::none) return fail(LoginStatus::initiator_error, describe(names.error()));
  if (stage_ == LoginStage::operational && !operational_) start_operational();
  TextReader reader(incoming_.text());
  while (reader.next(pair))
    if (auto failed = take_pair(pair)) return failed;
  incoming_.clear();
  return std::nullopt;
}

bool Login::take_name(Key key, std::string_view value) {
  switch (key) {
    case Key::initiator_name:
      names_.initiator = value;
      return true;
    case Key::target_name:
      names_.target = value;
      return true;
    case Key::session_type:
      names_.discovery = value == "Discovery";
      names_.bad_session_type = value != "Discovery" && value != "Normal";
      return true;
    default:
      return false;
  }
}

std::optional<Login::Reply> Login::take_pair(const KeyValue& pair) {
  const Key key = find_key(pair.key);
  switch (key) {
    case Key::initiator_name:
    case Key::target_name:
    case Key::session_type:
      if (identified_)
        return fail(LoginStatus::invalid_during_login, std::string(pair.key) + " after the first request");
      return std::nullopt;
    case Key::initiator_alias:
      return std::nullopt;
    case Key::auth_method:
    case Key::chap_a:
    case Key::chap_i:
    case Key::chap_c:
    case Key::chap_n:
    case Key::chap_r:
      if (stage_ != LoginStage::security)
        return fail(LoginStatus::invalid_during_login, std::string(pair.key) + " outside the security stage");
      if (!security_.take(key, pair.value)) return fail(LoginStatus::initiator_error, security_.reason());
      return std::nullopt;
    case Key::send_targets:
    case Key::target_alias:
    case Key::target_address:
    case Key::target_portal_group_tag:
      return fail(LoginStatus::invalid_during_login, std::string(pair.key) + " has no place in a login request");
    default:
      break;
  }
  if (stage_ == LoginStage::security) {
    if (key != Key::unknown)
      return fail(LoginStatus::invalid_during_login, std::string(pair.key) + " in the security stage");
    if (pair.value == "NotUnderstood" || outgoing_.add(pair.key, "NotUnderstood")) return std::nullopt;
    return fail(LoginStatus::initiator_error, describe(NegotiationError::no_room));
  }
  if (operational_->receive(pair, outgoing_) == OperationalNegotiation::Receipt::settled) return std::nullopt;
  return fail(LoginStatus::initiator_error, std::string(pair.key) + "=" + std::string(pair.value.substr(0, 64)) +
                                                ": " + describe(operational_->error()));
}

/// Who is there, and to whom does it want to talk (sections 6.3.1, 11.13.5)?
std::optional<Login::Reply> Login::identify() {
  if (names_.initiator.empty()) return fail(LoginStatus::missing_parameter, "InitiatorName is missing");
  if (names_.initiator.size() > kMaxNameLength)
    return fail(LoginStatus::initiator_error, "InitiatorName is too long");
  if (names_.bad_session_type)
    return fail(LoginStatus::session_type_not_supported, "SessionType is neither Normal nor Discovery");
  identity_ = {names_.initiator, first_.isid, nullptr, portal_group_tag_};
  if (!names_.discovery) {
    if (names_.target.empty()) return fail(LoginStatus::missing_parameter, "TargetName is missing");
    identity_.target = server_.find_target(names_.target);
    if (identity_.target == nullptr)
      return fail(LoginStatus::not_found, "there is no target " + names_.target.substr(0, kMaxNameLength));
    // Section 13.9: the first answer of a normal session tells the portal group, whatever the stage.
    outgoing_.add_number("TargetPortalGroupTag", portal_group_tag_);
    if (!identity_.target->alias.empty()) outgoing_.add("TargetAlias", identity_.target->alias);
  }
  if (stage_ == LoginStage::operational && !security_.is_satisfied(names_.discovery))
    return fail(LoginStatus::authentication_failure, "the target wants CHAP, and the initiator has skipped it");
  return first_.tsih != 0 ? check_session() : std::nullopt;
}

/// Of a connection that wants to join a session.
std::optional<Login::Reply> Login::check_session() {
  const Session* session = server_.find_session(first_.tsih);
  if (session == nullptr || session->identity() != identity_)
    return fail(LoginStatus::session_does_not_exist,
                "no session " + std::to_string(first_.tsih) + " of this initiator with this target");
  if (session->find_connection(first_.cid) == nullptr &&
      session->connections().size() >= session->parameters().max_connections)
    return fail(LoginStatus::too_many_connections,
                "the session has its " + std::to_string(session->parameters().max_connections) + " connections");
  return std::nullopt;
}

void Login::start_operational() {
  OperationalWishes wishes = server_.options().wishes;
  const Session* session = first_.tsih != 0 ? server_.find_session(first_.tsih) : nullptr;
  if (session != nullptr) wishes.session = session->parameters();
  operational_.emplace(wishes,
                       OperationalNegotiation::Kind{.leading = session == nullptr, .discovery = names_.discovery});
}

/// A digest that we insist on and that the initiator does not speak of: then we have to.
bool Login::has_to_insist() {
  bool insisting = operational_->awaiting_answers();
  const OperationalWishes& wishes = server_.options().wishes;
  const auto insist = [&](Key key, std::string_view list) {
    if (list_contains(list, "None") || operational_->is_settled(key) || operational_->is_offered(key)) return;
    operational_->offer(key, outgoing_);
    insisting = true;
  };
  insist(Key::header_digest, wishes.header_digest);
  insist(Key::data_digest, wishes.data_digest);
  return insisting;
}

Login::Reply Login::move_on(const LoginRequest& request) {
  Reply reply;
  reply.current_stage = stage_;
  bool may_go = true;
  if (stage_ == LoginStage::security) {
    may_go = security_.is_satisfied(names_.discovery);
    // Straight to the full feature phase: everything keeps its default, unless we insist on something.
    if (may_go && request.transit && request.next_stage == LoginStage::full_feature) {
      start_operational();
      if (has_to_insist())
        return fail(LoginStatus::initiator_error, "the target wants digests, and the initiator has skipped them");
    }
  } else {
    operational_->declare_max_recv_data_segment_length(outgoing_);
    may_go = !has_to_insist();
  }
  if (outgoing_.overflowed()) return fail(LoginStatus::initiator_error, describe(NegotiationError::no_room));
  if (request.transit && may_go) {
    reply.transit = true;
    reply.next_stage = request.next_stage;
    reply.complete = request.next_stage == LoginStage::full_feature;
    stage_ = request.next_stage;
  }
  reply.text = outgoing_.text();
  return reply;
}

SessionParameters Login::session_parameters() const noexcept {
  return operational_->session();
}

ConnectionParameters Login::connection_parameters() const noexcept {
  return operational_->connection();
}

}  // namespace nbdgw::iscsi_target
