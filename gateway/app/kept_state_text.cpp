#include "gateway/app/kept_state_text.hpp"

#include <algorithm>
#include <boost/algorithm/hex.hpp>
#include <boost/json.hpp>
#include <iterator>
#include <stdexcept>
#include <utility>

#include "proto/nbd/meta_context.hpp"

namespace nbdgw::app {

namespace json = boost::json;

namespace {

/// Of the format. What another version has written is not guessed at. Keys that came after the first release with
/// this version may be missing, with their safe meaning, and are passed over by that: `left`, `token`, `absent`,
/// `passed_on`.
constexpr std::int64_t kVersion = 4;

constexpr std::pair<nbd::LossStanding, const char*> kStandings[] = {
    {nbd::LossStanding::newcomer, "newcomer"}, {nbd::LossStanding::told, "told"}, {nbd::LossStanding::owed, "owed"}};

const char* name_of(nbd::LossStanding standing) {
  return std::ranges::find(kStandings, standing, [](const auto& each) { return each.first; })->second;
}

template <typename Bytes>
std::string hex(const Bytes& bytes) {
  std::string text;
  text.reserve(2 * bytes.size());
  boost::algorithm::hex_lower(bytes, std::back_inserter(text));
  return text;
}

json::object to_json(const proto::DiskIdentity& disk) {  // not always text
  return {{"designator", hex(disk.designator)}, {"serial", hex(disk.serial)}};
}

json::object to_json(const nbd::ExportInfo& info) {
  return {{"name", info.name},
          {"disk", to_json(info.disk)},
          {"size", info.size},
          {"read_only", info.read_only},
          {"flush", info.flush},
          {"fua", info.fua},
          {"trim", info.trim},
          {"write_zeroes", info.write_zeroes},
          {"multi_conn", info.multi_conn},
          {"min_block", info.min_block},
          {"max_payload", info.max_payload}};
}

json::array to_json(const std::vector<bridge::CacheLedger::AbsentLegacy>& absent) {
  json::array all;
  for (const auto& [token, owed] : absent) all.push_back(json::object{{"token", token}, {"owed", owed}});
  return all;
}

json::array to_json(const std::vector<initiator::LeftWrites>& left) {
  json::array list;
  for (const initiator::LeftWrites& each : left) {
    list.push_back(json::object{{"tag", each.group.number()},
                                {"host", each.group.portal.host},
                                {"port", each.group.portal.port},
                                {"address", each.group.address},
                                {"acknowledged", each.acknowledged}});
  }
  return list;
}

json::object to_json(const bridge::CacheLegacy& legacy) {
  const bridge::CacheNumbers& numbers = legacy.cache;
  return {{"seen_at", legacy.seen_at},
          {"reports", numbers.reports},
          {"acknowledged", numbers.acknowledged},
          {"flushed", numbers.flushed},
          {"doubted_from", numbers.doubted_from},
          {"doubted_to", numbers.doubted_to},
          {"debts", numbers.debts},
          {"debt_writes", numbers.debt_writes},
          {"writes_left", legacy.writes_left},
          {"left", to_json(legacy.left)},
          {"gap", legacy.gap},
          {"disk", to_json(legacy.disk)},
          {"path_was_up", legacy.path_was_up},
          {"login_is_silent", legacy.power_on.login_is_silent},
          {"reset_is_silent", legacy.power_on.reset_is_silent},
          {"absent", to_json(legacy.absent)}};
}

template <typename T>
T get(const json::object& object, const char* key) {
  return json::value_to<T>(object.at(key));
}

proto::DiskIdentity parse_disk(const json::object& text) {
  proto::DiskIdentity disk;
  boost::algorithm::unhex(get<std::string>(text, "designator"), std::back_inserter(disk.designator));
  boost::algorithm::unhex(get<std::string>(text, "serial"), std::back_inserter(disk.serial));
  return disk;
}

nbd::ExportInfo parse_info(const json::object& text) {
  nbd::ExportInfo info;
  info.name = get<std::string>(text, "name");
  info.disk = parse_disk(text.at("disk").as_object());
  info.size = get<std::uint64_t>(text, "size");
  info.read_only = get<bool>(text, "read_only");
  info.flush = get<bool>(text, "flush");
  info.fua = get<bool>(text, "fua");
  info.trim = get<bool>(text, "trim");
  info.write_zeroes = get<bool>(text, "write_zeroes");
  info.multi_conn = get<bool>(text, "multi_conn");
  info.min_block = get<std::uint32_t>(text, "min_block");
  info.max_payload = get<std::uint32_t>(text, "max_payload");
  return info;
}

/// Empty: there is none, or who has written this knew of none.
std::string get_token(const json::object& text) {
  if (!text.contains("token")) return {};
  auto token = get<std::string>(text, "token");
  if (token.size() > proto::nbd::kMaxClientToken) throw std::runtime_error("a longer token than can be");
  return token;
}

std::vector<bridge::CacheLedger::AbsentLegacy> parse_absent(const json::object& text) {
  std::vector<bridge::CacheLedger::AbsentLegacy> absent;
  if (!text.contains("absent")) return absent;
  for (const json::value& each : text.at("absent").as_array())
    absent.push_back({.token = get_token(each.as_object()), .owed = get<bool>(each.as_object(), "owed")});
  return absent;
}

std::vector<initiator::LeftWrites> parse_left(const json::object& cache) {
  std::vector<initiator::LeftWrites> left;
  if (!cache.contains("left")) return left;
  for (const json::value& each : cache.at("left").as_array()) {
    const json::object& text = each.as_object();
    const auto tag = get<std::int32_t>(text, "tag");
    if (tag != initiator::Proof::kNoGroup && (tag < 0 || tag > UINT16_MAX))
      throw std::runtime_error("no portal group");
    initiator::LeftWrites& writes = left.emplace_back();
    if (tag != initiator::Proof::kNoGroup) writes.group.tag = static_cast<std::uint16_t>(tag);
    writes.group.portal = {.host = get<std::string>(text, "host"), .port = get<std::uint16_t>(text, "port")};
    writes.group.address = get<std::string>(text, "address");
    writes.acknowledged = get<bool>(text, "acknowledged");
  }
  return left;
}

bridge::CacheLegacy parse_cache(const json::object& text) {
  const bridge::CacheNumbers numbers{.reports = get<std::uint64_t>(text, "reports"),
                                     .acknowledged = get<std::uint64_t>(text, "acknowledged"),
                                     .flushed = get<std::uint64_t>(text, "flushed"),
                                     .doubted_from = get<std::uint64_t>(text, "doubted_from"),
                                     .doubted_to = get<std::uint64_t>(text, "doubted_to"),
                                     .debts = get<std::uint32_t>(text, "debts"),
                                     .debt_writes = get<std::uint64_t>(text, "debt_writes")};
  if (!numbers.possible()) throw std::runtime_error("impossible numbers of writes");
  return {.cache = numbers,
          .seen_at = get<proto::Micros>(text, "seen_at"),
          .path_was_up = get<bool>(text, "path_was_up"),
          .disk = parse_disk(text.at("disk").as_object()),
          .power_on = {.login_is_silent = get<bool>(text, "login_is_silent"),
                       .reset_is_silent = get<bool>(text, "reset_is_silent")},
          .writes_left = get<bool>(text, "writes_left"),
          .left = parse_left(text),
          .gap = get<bool>(text, "gap"),
          .absent = parse_absent(text)};
}

nbd::LossStanding parse_standing(const std::string& text) {
  for (const auto& [standing, name] : kStandings) {
    if (text == name) return standing;
  }
  throw std::runtime_error("a client of no known standing");
}

nbd::KeptConnection parse_connection(const json::object& text) {
  nbd::KeptConnection connection;
  connection.info = parse_info(text.at("export").as_object());
  connection.structured = get<bool>(text, "structured");
  connection.standing = parse_standing(get<std::string>(text, "standing"));
  connection.token = get_token(text);
  const bool passed_on = text.contains("passed_on");
  const auto unread = get<std::string>(text, passed_on ? "passed_on" : "unread");
  const std::size_t most = passed_on ? nbd::kMostPassedOn : nbd::kMaxUnread;
  if (unread.size() > 2 * most) throw std::runtime_error("more bytes unread than can be");
  boost::algorithm::unhex(unread, std::back_inserter(connection.unread));
  return connection;
}

/// More than the release before could take in. It does not find such a client's socket, either, so that it does not
/// go on with one of whose requests it knows nothing.
bool is_long(const nbd::KeptConnection& connection) noexcept {
  return connection.unread.size() > nbd::kMaxUnread;
}

/// What a client was owed that has gone, is for whoever comes.
void leave_debt(std::vector<shard::ExportLegacy>& exports, const std::string& iqn, std::uint64_t lun) {
  const auto found = std::ranges::find_if(
      exports, [&](const shard::ExportLegacy& legacy) { return legacy.iqn == iqn && legacy.lun == lun; });
  if (found != exports.end()) found->cache.cache.leave_debt(1);
}

}  // namespace

std::string client_name(std::size_t number, const nbd::KeptConnection& connection) {
  constexpr std::size_t kLongFrom = 1'000'000;  // above any number that a client can have
  return std::string(client_name_prefix()) + std::to_string(is_long(connection) ? kLongFrom + number : number);
}

std::string_view client_name_prefix() noexcept {
  return "nbdgw-client-";
}

std::string kept_state_text(const shard::KeptState& state) {
  json::array clients, exports;
  for (const shard::KeptClient& client : state.clients) {
    json::object text{{"export", to_json(client.connection.info)},
                      {"iqn", client.iqn},
                      {"lun", client.lun},
                      {"structured", client.connection.structured},
                      {"standing", name_of(client.connection.standing)},
                      {"token", client.connection.token},
                      {"unread", ""}};
    text[is_long(client.connection) ? "passed_on" : "unread"] = hex(client.connection.unread);
    clients.push_back(std::move(text));
  }
  for (const shard::ExportLegacy& exported : state.exports)
    exports.push_back(json::object{{"iqn", exported.iqn}, {"lun", exported.lun}, {"cache", to_json(exported.cache)}});
  return json::serialize(
      json::object{{"version", kVersion}, {"clients", std::move(clients)}, {"exports", std::move(exports)}});
}

shard::KeptState parse_kept_state(std::string_view text, std::vector<net::InheritedSockets::Named> sockets) {
  // A wrong type, a key that is not there, or no hex digit: each throws something else.
  try {
    const json::value document = json::parse(text);
    const json::object& all = document.as_object();
    if (const auto version = get<std::int64_t>(all, "version"); version != kVersion)
      throw std::runtime_error("version " + std::to_string(version) + ", not " + std::to_string(kVersion));
    shard::KeptState state;
    for (const json::value& each : all.at("exports").as_array()) {
      const json::object& exported = each.as_object();
      state.exports.push_back({.name = {},
                               .iqn = get<std::string>(exported, "iqn"),
                               .lun = get<std::uint64_t>(exported, "lun"),
                               .cache = parse_cache(exported.at("cache").as_object())});
    }
    std::size_t number = 0;
    for (const json::value& each : all.at("clients").as_array()) {
      const json::object& client = each.as_object();
      nbd::KeptConnection connection = parse_connection(client);
      const auto socket =
          std::ranges::find(sockets, client_name(number++, connection), &net::InheritedSockets::Named::first);
      const auto iqn = get<std::string>(client, "iqn");
      const auto lun = get<std::uint64_t>(client, "lun");
      if (socket != sockets.end()) {
        state.clients.push_back(
            {.fd = std::move(socket->second), .connection = std::move(connection), .iqn = iqn, .lun = lun});
      } else if (connection.standing == nbd::LossStanding::owed) {
        leave_debt(state.exports, iqn, lun);
      }
    }
    return state;
  } catch (const std::runtime_error&) {
    throw;
  } catch (const std::exception& error) {
    throw std::runtime_error(error.what());
  }
}

}  // namespace nbdgw::app
