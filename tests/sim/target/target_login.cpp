#include "tests/sim/target/target_login.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

#include "tests/sim/target/array.hpp"

namespace nbdgw::sim {
namespace {

/// Where logins are sent in circles: so often, and for so long.
constexpr Micros kCircles = 5 * proto::kSecond;
constexpr Micros kCircleLasts = proto::kSecond;

constexpr std::uint8_t kTransit = 0x80;
constexpr std::uint8_t kContinue = 0x40;
constexpr std::uint8_t kOperational = 1;
constexpr std::uint8_t kFullFeature = 3;

constexpr std::uint16_t kInitiatorError = 0x0200;
constexpr std::uint16_t kNotFound = 0x0203;
constexpr std::uint16_t kTooManyConnections = 0x0206;
constexpr std::uint16_t kMissingParameter = 0x0207;
constexpr std::uint16_t kSessionType = 0x0209;
constexpr std::uint16_t kNoSuchSession = 0x020a;

/// Keys that belong to a session, not to a connection (RFC 7143 section 13): only its first login may have them.
constexpr std::string_view kLeadingOnly[] = {
    "MaxConnections",      "InitialR2T",       "ImmediateData",      "MaxBurstLength",     "FirstBurstLength",
    "MaxOutstandingR2T",   "DefaultTime2Wait", "DefaultTime2Retain", "ErrorRecoveryLevel", "DataPDUInOrder",
    "DataSequenceInOrder", "TaskReporting",    "iSCSIProtocolLevel"};

bool is_leading_only(std::string_view key) noexcept {
  return std::ranges::count(kLeadingOnly, key) > 0;
}

}  // namespace

void TargetLogin::receive(const pdu::Request& request) {
  if (!check_header(request)) return connection_.drop(Cut::reset);
  in_.append(reinterpret_cast<const char*>(request.data.data()), request.data.plain() ? request.data.size() : 0);
  out_.clear();
  if ((request.bhs[1] & kContinue) != 0) return respond(0, false);
  if (!read_text()) return refuse(kInitiatorError);
  if (!identified_ && !identify()) return;
  negotiate();
  in_.clear();
  answer((request.bhs[1] & kTransit) != 0);
}

bool TargetLogin::check_header(const pdu::Request& request) {
  const auto wrong = [&](const char* what) {
    array_.checker.complain(connection_, std::string("login: ") + what);
    return false;
  };
  if (request.opcode() != pdu::kLogin) return wrong("another request before the full feature phase");
  if (!request.immediate()) wrong("a request that is not immediate");
  if (!request.ahs.empty()) wrong("an additional header segment");
  const std::uint8_t flags = request.bhs[1];
  if ((flags & kTransit) != 0 && (flags & kContinue) != 0) return wrong("T and C together");
  const std::uint8_t stage = (flags >> 2) & 3;
  const auto tsih = static_cast<std::uint16_t>(be16(request.bhs + 14));
  const auto cid = static_cast<std::uint16_t>(be16(request.bhs + 20));
  if (!begun_) {
    begun_ = true;
    stage_ = stage;
    tsih_ = tsih;
    cid_ = cid;
    cmd_sn_ = request.cmd_sn();
    std::copy_n(request.bhs + 8, identity_.isid.size(), identity_.isid.begin());
    if (array_.options.observer != nullptr) array_.options.observer->on_login(leading());
  } else {
    if (request.exp_stat_sn() != connection_.next_stat_sn()) wrong("a wrong ExpStatSN");
    if (tsih != tsih_ || cid != cid_ || !std::equal(identity_.isid.begin(), identity_.isid.end(), request.bhs + 8)) {
      return wrong("another TSIH, CID or ISID than at first");
    }
    if (request.itt() != itt_) wrong("another tag than at first");
  }
  itt_ = request.itt();
  if (stage != stage_ || stage > kOperational) return wrong("another stage than was agreed on");
  next_stage_ = flags & 3;
  const bool forward = next_stage_ == kFullFeature || (next_stage_ == kOperational && stage_ < kOperational);
  if ((flags & kTransit) != 0 && !forward) return wrong("it leads nowhere");
  return true;
}

bool TargetLogin::read_text() {
  pairs_.clear();
  std::string_view rest = in_;
  while (!rest.empty()) {
    const std::size_t end = rest.find('\0');
    const std::size_t equals = rest.find('=');
    if (end == std::string_view::npos || equals >= end) {
      array_.checker.complain(connection_, "login: text that is none");
      return false;
    }
    pairs_.push_back({rest.substr(0, equals), rest.substr(equals + 1, end - equals - 1)});
    rest.remove_prefix(end + 1);
    check_key(pairs_.back().key);
  }
  return true;
}

void TargetLogin::check_key(std::string_view key) {
  if (std::ranges::count(seen_, key) > 0) {
    array_.checker.complain(connection_, "login: the key " + std::string(key) + " twice");
  }
  seen_.emplace_back(key);
  if (!leading() && !offered_ && is_leading_only(key)) {
    array_.checker.complain(connection_, "login: the key " + std::string(key) + " when joining a session");
  }
}

const TargetLogin::Pair* TargetLogin::find(std::string_view key) const noexcept {
  const auto found = std::ranges::find(pairs_, key, &Pair::key);
  return found == pairs_.end() ? nullptr : &*found;
}

/// Who it is, and whether it may come in.
bool TargetLogin::identify() {
  identified_ = true;
  const Pair* const initiator = find("InitiatorName");
  const Pair* const target = find("TargetName");
  const Pair* const type = find("SessionType");
  if (initiator == nullptr) {
    array_.checker.complain(connection_, "login: no InitiatorName");
    refuse(kMissingParameter);
    return false;
  }
  if ((type != nullptr && type->value != "Normal") || target == nullptr) {
    refuse(kSessionType);
    return false;
  }
  identity_.initiator = initiator->value;
  identity_.target = target->value;
  if (std::ranges::count(array_.options.names, identity_.target) == 0) {
    refuse(kNotFound);
    return false;
  }
  return !draw_refusal() && admit();
}

/// A further connection of a session that there is.
bool TargetLogin::admit() {
  if (leading()) return true;
  TargetSession* const session = array_.find_session(tsih_);
  if (session == nullptr || session->identity() != identity_ || &session->controller() != &connection_.controller()) {
    refuse(kNoSuchSession);
    return false;
  }
  if (comes_before(session->max_cmd_sn() + 1, cmd_sn_)) {
    array_.checker.complain(connection_, "login: a CmdSN that is not the session's");
  }
  const bool again = session->find_connection(cid_) != nullptr;
  if (!again && session->connections().size() >= session->terms().max_connections) {
    refuse(kTooManyConnections);
    return false;
  }
  session_ = session->terms();
  return true;
}

bool TargetLogin::draw_refusal() {
  FaultDesk& faults = array_.faults;
  if (array_.habits().redirects_in_circles && !faults.healed() && array_.now() % kCircles < kCircleLasts) {
    refuse_with_redirect(false);
    return true;
  }
  if (faults.strikes(Fault::login_hangs)) return true;
  if (faults.strikes(Fault::login_drops)) {
    connection_.drop(faults.random(Fault::login_drops).chance(0.5) ? Cut::close : Cut::reset);
    return true;
  }
  if (faults.strikes(Fault::login_refused)) {
    refuse(faults.random(Fault::login_refused)
               .pick<std::uint16_t>({0x0200, 0x0202, 0x0203, 0x0204, 0x0206, 0x0300, 0x0301, 0x0302}));
    return true;
  }
  if (faults.strikes(Fault::login_redirected)) {
    refuse_with_redirect(false);
    return true;
  }
  if (faults.strikes(Fault::login_moved)) {
    refuse_with_redirect(true);
    return true;
  }
  return false;
}

void TargetLogin::refuse_with_redirect(bool for_good) {
  Random& random = array_.faults.random(for_good ? Fault::login_moved : Fault::login_redirected);
  const auto& controller = *array_.controllers[random.below(array_.controllers.size())];
  const auto& addresses = controller.options().addresses;
  add("TargetAddress",
      addresses[random.below(addresses.size())] + "," + std::to_string(controller.options().group_tag));
  if (array_.options.observer != nullptr) array_.options.observer->on_redirect();
  respond(for_good ? 0x0102 : 0x0101, false);
  connection_.drop(Cut::close);
}

void TargetLogin::answer(bool transit) {
  if (stage_ == kOperational && !declared_) {
    declared_ = true;
    add("MaxRecvDataSegmentLength", array_.habits().segment);
  }
  // A round more than is needed, in which keys are offered that were settled long ago.
  if (transit && stage_ == kOperational && !prolonged_ && array_.faults.strikes(Fault::login_long)) {
    prolonged_ = true;
    if (!leading()) {
      offered_ = true;
      add("InitialR2T", session_.initial_r2t ? "Yes" : "No");
      add("MaxOutstandingR2T", session_.max_r2t);
      add("ErrorRecoveryLevel", 0U);
      add("MaxConnections", session_.max_connections);
    }
    return respond(0, false);
  }
  if (transit && next_stage_ == kFullFeature) return finish();
  respond(0, transit);
  if (transit) stage_ = next_stage_;
}

/// Full feature phase begins with this answer, which has no digests yet.
void TargetLogin::finish() {
  TargetConnection& connection = connection_;
  TargetSession* session = nullptr;
  if (leading()) {
    // Reinstatement: the old session ends before the new one begins (section 6.3.5).
    if (TargetSession* const old = array_.find_session(identity_, connection.controller())) {
      array_.end_session(*old, array_.habits().closes_hard ? Cut::reset : Cut::close);
    }
    session = &array_.open_session(connection.controller(), identity_, session_, cmd_sn_);
    tsih_ = session->tsih();
  } else {
    session = array_.find_session(tsih_);
    if (session == nullptr) return refuse(kNoSuchSession);
  }
  TargetConnection* const old = session->find_connection(cid_);
  connection.start(*session, cid_);
  // The same connection once more: the session lives on meanwhile.
  if (old != nullptr) old->drop(Cut::close);
  respond(0, true);
  connection.agree(terms_);
}

void TargetLogin::refuse(std::uint16_t status) {
  respond(status, false);
  connection_.drop(Cut::close);
}

void TargetLogin::respond(std::uint16_t status, bool transit) {
  pdu::Header bhs = pdu::begin(pdu::kLoginResponse, itt_, 0);
  bhs[1] = static_cast<std::uint8_t>((stage_ << 2) | (transit ? kTransit | next_stage_ : 0));
  std::copy(identity_.isid.begin(), identity_.isid.end(), &bhs[8]);
  put_be16(&bhs[14], tsih_);
  put_be32(&bhs[28], cmd_sn_);
  put_be32(&bhs[32], cmd_sn_);
  connection_.stamp(bhs, true);
  put_be16(&bhs[36], status);
  connection_.emit(bhs, Bytes(reinterpret_cast<const std::uint8_t*>(out_.data()), out_.size()));
}

}  // namespace nbdgw::sim
