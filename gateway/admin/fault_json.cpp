#include "gateway/admin/fault_json.hpp"

#include <algorithm>
#include <boost/json.hpp>

#include "config/address.hpp"
#include "gateway/http/request_fields.hpp"

namespace nbdgw::admin {

namespace json = boost::json;
using iscsi_target::CommandGroup;
using iscsi_target::Fault;
using iscsi_target::FaultParameter;
using iscsi_target::FaultTraits;

namespace {

constexpr std::uint32_t kMaxLun = 16383;
constexpr std::uint32_t kMaxCid = 65535;
constexpr std::uint64_t kMaxCount = 0xffffffff;
constexpr std::uint64_t kMaxSeed = 0x7fffffffffffffff;  // a signed number of 64 bits in most languages
constexpr std::size_t kMaxShownValue = 64;              // of a value that is quoted back

/// Any of these members makes a trigger.
constexpr std::string_view kTriggerNames[] = {"count", "probability", "seed", "skip"};

/// Takes the members of one object, one after the other, and knows at the end which nobody wanted.
class Members {
 public:
  explicit Members(const json::object& object) : object_(object) {}

  /// Null: there is none of that name.
  const json::value* take(std::string_view name) {
    const json::value* found = object_.if_contains(name);
    if (found != nullptr) ++taken_;
    return found;
  }
  bool all_taken() const noexcept { return taken_ == object_.size(); }
  const json::object& object() const noexcept { return object_; }

 private:
  const json::object& object_;
  std::size_t taken_ = 0;
};

FieldError wrong(std::string_view field, const std::string& wanted, const json::value& found) {
  std::string shown = json::serialize(found);
  if (shown.size() > kMaxShownValue) shown.replace(kMaxShownValue, std::string::npos, "...");
  return {std::string(field), std::string(field) + ": expected " + wanted + ", found " + shown};
}

std::optional<std::uint64_t> whole_number(const json::value& value) noexcept {
  if (value.is_uint64()) return value.get_uint64();
  if (value.is_int64() && value.get_int64() >= 0) return static_cast<std::uint64_t>(value.get_int64());
  return std::nullopt;
}

std::optional<FieldError> read_number(std::string_view name, const json::value& value, std::uint64_t least,
                                      std::uint64_t most, std::uint64_t& out) {
  const auto number = whole_number(value);
  if (!number || *number < least || *number > most)
    return wrong(name, "a whole number from " + std::to_string(least) + " to " + std::to_string(most), value);
  out = *number;
  return std::nullopt;
}

std::optional<FieldError> read_number(std::string_view name, const json::value& value, std::uint32_t least,
                                      std::uint32_t most, std::uint32_t& out) {
  std::uint64_t number = out;
  auto error = read_number(name, value, std::uint64_t{least}, std::uint64_t{most}, number);
  out = static_cast<std::uint32_t>(number);
  return error;
}

std::optional<FieldError> read_opcode(const json::value& value, Fault& fault) {
  if (value.is_string()) fault.group = iscsi_target::find_command_group(value.get_string());
  if (const auto number = whole_number(value); number && *number <= 255)
    fault.opcode = static_cast<std::uint32_t>(*number);
  if (fault.group || fault.opcode) return std::nullopt;
  return wrong("opcode",
               "a whole number from 0 to 255, or one of \"read\", \"write\", \"flush\", \"unmap\", \"write_same\", "
               "\"test_unit_ready\"",
               value);
}

std::optional<FieldError> read_scope(Members& members, const FaultTraits& kind, Fault& fault) {
  const auto read = [&](std::string_view name, std::uint32_t most, auto& out) -> std::optional<FieldError> {
    const json::value* value = members.take(name);
    return value != nullptr ? read_number(name, *value, 0U, most, out.emplace(0)) : std::nullopt;
  };
  if (kind.lun)
    if (auto error = read("lun", kMaxLun, fault.lun)) return error;
  if (kind.cid)
    if (auto error = read("cid", kMaxCid, fault.cid)) return error;
  if (kind.needs_lun && !fault.lun) return FieldError{"lun", "lun: missing; " + std::string(kind.name) + " needs it"};
  const json::value* opcode = kind.opcode ? members.take("opcode") : nullptr;
  return opcode != nullptr ? read_opcode(*opcode, fault) : std::nullopt;
}

std::optional<FieldError> read_trigger(Members& members, Fault& fault) {
  for (const std::string_view name : kTriggerNames) {
    const json::value* value = members.take(name);
    if (value == nullptr) continue;
    fault.has_trigger = true;
    std::optional<FieldError> error;
    if (name == "count") {
      error = read_number(name, *value, 1U, static_cast<std::uint32_t>(kMaxCount), fault.count);
    } else if (name == "skip") {
      error = read_number(name, *value, 0U, static_cast<std::uint32_t>(kMaxCount), fault.skip);
    } else if (name == "seed") {
      error = read_number(name, *value, std::uint64_t{0}, kMaxSeed, fault.seed);
    } else {
      fault.probability = value->is_number() ? value->to_number<double>() : -1;
      if (!(fault.probability >= 0 && fault.probability <= 1)) error = wrong(name, "a number from 0 to 1", *value);
    }
    if (error) return error;
  }
  return std::nullopt;
}

/// "host:port" or "host:port,tpgt", as TargetAddress has it (RFC 7143 section 13.8).
bool is_target_address(std::string_view text) {
  if (text.size() > iscsi_target::kMaxRedirectAddress) return false;
  const std::size_t comma = text.find(',');
  if (comma != std::string_view::npos) {
    const std::string_view tag = text.substr(comma + 1);
    if (tag.empty() || tag.size() > 5 || tag.find_first_not_of("0123456789") != std::string_view::npos) return false;
  }
  config::Portal portal;
  return config::parse_portal(text.substr(0, comma), portal).empty();
}

bool is_serial(std::string_view text) {
  return !text.empty() && text.size() <= iscsi_target::kMaxSerial &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

std::optional<FieldError> read_value(const FaultParameter& parameter, const json::value& value, Fault& fault) {
  switch (parameter.type) {
    case FaultParameter::Type::flag:
      if (!value.is_bool()) return wrong(parameter.name, "true or false", value);
      fault.*parameter.flag = value.get_bool();
      return std::nullopt;
    case FaultParameter::Type::number:
      return read_number(parameter.name, value, parameter.least, parameter.most, fault.*parameter.number);
    case FaultParameter::Type::place:
      if (!value.is_string() || (value.get_string() != "header" && value.get_string() != "data"))
        return wrong(parameter.name, "\"header\" or \"data\"", value);
      fault.*parameter.flag = value.get_string() == "data";
      return std::nullopt;
    case FaultParameter::Type::address:
      if (!value.is_string() || !is_target_address(value.get_string()))
        return wrong(parameter.name, "\"host:port\" or \"host:port,portal group tag\"", value);
      fault.to = value.get_string();
      return std::nullopt;
    case FaultParameter::Type::serial:
      if (!value.is_string() || !is_serial(value.get_string()))
        return wrong(parameter.name,
                     "1 to " + std::to_string(iscsi_target::kMaxSerial) + " printable characters of ASCII", value);
      fault.serial = value.get_string();
      return std::nullopt;
  }
  return std::nullopt;
}

std::optional<FieldError> read_parameters(Members& members, const FaultTraits& kind, Fault& fault) {
  for (const FaultParameter& each : kind.parameters) {
    const json::value* value = members.take(each.name);
    if (value != nullptr) {
      if (auto error = read_value(each, *value, fault)) return error;
    } else if (each.need == FaultParameter::Need::required) {
      const std::string name(each.name);
      return FieldError{name, name + ": missing; " + std::string(kind.name) + " needs it"};
    }
  }
  return std::nullopt;
}

bool knows(const FaultTraits& kind, std::string_view name) {
  if (name == "fault" || (kind.lun && name == "lun") || (kind.cid && name == "cid") ||
      (kind.opcode && name == "opcode"))
    return true;
  for (const std::string_view each : kTriggerNames)
    if (kind.trigger && name == each) return true;
  for (const FaultParameter& each : kind.parameters)
    if (name == each.name) return true;
  return false;
}

FieldError unknown_member(const Members& members, const FaultTraits& kind) {
  for (const auto& member : members.object()) {
    const std::string name(member.key());
    if (!knows(kind, name)) return {name, name + ": " + std::string(kind.name) + " has no such field"};
  }
  return {};
}

}  // namespace

std::optional<FieldError> parse_fault(std::string_view text, Fault& fault) {
  boost::system::error_code broken;
  const json::value document = json::parse({text.data(), text.size()}, broken);
  if (broken) return FieldError{"", "this is no JSON: " + broken.message()};
  if (const auto twice = http::duplicate_member(text)) return FieldError{*twice, *twice + ": is there twice"};
  if (!document.is_object()) return FieldError{"", "expected an object, {\"fault\": ...}"};
  Members members(document.get_object());

  const json::value* name = members.take("fault");
  if (name == nullptr) return FieldError{"fault", "fault: missing; it says which kind of fault"};
  const FaultTraits* kind = name->is_string() ? iscsi_target::find_fault(name->get_string()) : nullptr;
  if (kind == nullptr) {
    std::string kinds;
    for (const FaultTraits& each : iscsi_target::all_fault_traits())
      kinds.append(kinds.empty() ? "" : ", ").append(each.name);
    return wrong("fault", "one of " + kinds, *name);
  }
  fault = default_fault(*kind);
  if (auto error = read_scope(members, *kind, fault)) return error;
  if (kind->trigger)
    if (auto error = read_trigger(members, fault)) return error;
  if (auto error = read_parameters(members, *kind, fault)) return error;
  if (!members.all_taken()) return unknown_member(members, *kind);
  return std::nullopt;
}

json::object to_json(const iscsi_target::Faults::Posted& posted) {
  const Fault& fault = posted.fault;
  const FaultTraits& kind = traits(fault.kind);
  json::object out{{"id", posted.id}, {"fault", kind.name}};
  if (fault.lun) out["lun"] = *fault.lun;
  if (fault.cid) out["cid"] = *fault.cid;
  if (fault.opcode) out["opcode"] = *fault.opcode;
  if (fault.group) out["opcode"] = name_of(*fault.group);
  if (kind.trigger && !fault.at_once()) {
    if (fault.count != 0) out["count"] = fault.count;
    out["probability"] = fault.probability;
    out["seed"] = fault.seed;
    out["skip"] = fault.skip;
  }
  for (const FaultParameter& each : kind.parameters) {
    switch (each.type) {
      case FaultParameter::Type::flag:
        out[each.name] = fault.*each.flag;
        break;
      case FaultParameter::Type::number:
        if (each.need != FaultParameter::Need::optional || fault.*each.number != 0)
          out[each.name] = fault.*each.number;
        break;
      case FaultParameter::Type::place:
        out[each.name] = fault.*each.flag ? "data" : "header";
        break;
      case FaultParameter::Type::address:
        out[each.name] = fault.to;
        break;
      case FaultParameter::Type::serial:
        out[each.name] = fault.serial;
        break;
    }
  }
  out["hits"] = posted.hits;
  out["active"] = posted.active;
  return out;
}

}  // namespace nbdgw::admin
