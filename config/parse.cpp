#include "config/parse.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "config/address.hpp"
#include "config/keys.hpp"
#include "config/names.hpp"
#include "config/parse_admin.hpp"
#include "config/parse_target.hpp"
#include "config/suggest.hpp"
#include "config/units.hpp"

namespace nbdgw::config {

namespace {

using proto::kSecond;

constexpr std::array<std::string_view, 2> kSameDiskWords{"share", "refuse"};
constexpr std::array kSameDisks{SameDisk::share, SameDisk::refuse};
constexpr std::size_t kMaxFileSize = 1 << 20;  // bytes
constexpr std::uint64_t kMaxClients = 65536;
constexpr std::uint64_t kMaxInFlight = 4096;
constexpr std::uint64_t kMaxMemory = 1ULL << 40;
constexpr std::uint64_t kMaxWorkers = 256;
constexpr std::uint64_t kMaxLun = 16383;  // SAM-5 4.7: 14 bits in the flat addressing method

void parse_listen(const Section& section, Listen& listen) {
  const auto values =
      section.required("nbd", "[\"tcp://127.0.0.1:10809\"]").list("addresses such as \"tcp://127.0.0.1:10809\"");
  if (!values) return;
  std::set<std::string> known;
  for (const Value& value : *values) {
    const auto text = value.text();
    if (!text) continue;
    Endpoint endpoint;
    if (const std::string wrong = parse_listen_address(*text, endpoint); !wrong.empty()) {
      value.error(in_quotes(*text) + ": " + wrong);
    } else if (!known.insert(to_string(endpoint)).second) {
      value.error(in_quotes(*text) + " is in the list twice");
    } else {
      if (!is_local(endpoint)) {
        value.warning(
            "whoever reaches " + to_string(endpoint) +
            " can read and write every export: there is neither encryption nor a password here, so let only "
            "a trusted network get there");
      }
      listen.nbd.push_back(std::move(endpoint));
    }
  }
}

void parse_limits(const Section& top, Config& config) {
  if (const auto section = top.get("limits").section(keys::kLimits)) {
    Limits& limits = config.limits;
    assign(limits.connections, section->get("connections").integer(1, kMaxClients));
    assign(limits.handshake_timeout, section->get("handshake_timeout").duration(kSecond, 300 * kSecond));
    assign(limits.in_flight_per_connection, section->get("in_flight_per_connection").integer(1, kMaxInFlight));
    assign(limits.stall_timeout, section->get("stall_timeout").duration(kSecond, 3600 * kSecond));
    assign(limits.memory, section->get("memory").size(kMinWorkerMemory, kMaxMemory));
  }
  const Value workers = top.get("workers");
  if (!workers.given()) return;
  if (workers.is_word("auto")) return;
  const auto number = workers.integer(1, kMaxWorkers, "auto, or a whole number");
  if (!number) return;
  config.workers = static_cast<std::uint32_t>(*number);
  if (*number * kMinWorkerMemory > config.limits.memory) {
    workers.error(std::to_string(*number) + " workers need limits.memory: " +
                  format_size(*number * kMinWorkerMemory) + " at least (" + format_size(kMinWorkerMemory) +
                  " each, for one request may carry 32MiB); there are " + format_size(config.limits.memory));
  }
}

void parse_initiator(const Section& top, Initiator& initiator) {
  const auto section =
      top.required("initiator", "{name: \"iqn.2026-11.com.example:host-1\"}").section(keys::kInitiator);
  if (!section) return;
  const Value name = section->required("name", "iqn.2026-11.com.example:host-1");
  auto text = name.text();
  if (!text) return;
  if (const std::string wrong = check_iscsi_name(*text, NameOf::initiator); !wrong.empty()) {
    name.error(in_quotes(*text) + ": " + wrong);
  }
  initiator.name = *std::move(text);
}

void parse_targets(const Section& top, const std::string& file, const FileReader& reader,
                   std::vector<Target>& targets) {
  const auto values =
      top.required("targets", "a list of {name, iqn, portals}").list("targets with name, iqn and portals");
  if (!values) return;
  std::set<std::string> names;
  std::map<std::string, std::string> names_by_iqn;
  for (const Value& value : *values) {
    const auto section = value.section(keys::kTarget);
    Target target = section ? parse_target(*section, file, reader) : Target{};
    if (!target.name.empty() && !names.insert(target.name).second) {
      section->get("name").error("another target is called " + in_quotes(target.name) + "; give each its own name");
    }
    if (!target.iqn.empty()) {
      const auto [first, fresh] = names_by_iqn.try_emplace(target.iqn, target.name);
      if (!fresh) {
        section->get("iqn").error(
            "this is target " + in_quotes(first->second) +
            " again; name all of its portals there: with two sessions to the same disks, writes "
            "through one would not wait for overlapping writes through the other");
      }
    }
    targets.push_back(std::move(target));
  }
}

/// Finds the targets that exports name.
class TargetNames {
 public:
  explicit TargetNames(const std::vector<Target>& targets) {
    for (const Target& target : targets) {
      by_name_.emplace(target.name, known_.size());
      known_.push_back(target.name);
    }
  }

  /// The index of the target, or a message.
  std::optional<std::uint32_t> find(const Value& value) {
    const auto name = value.text();
    if (!name) return std::nullopt;
    if (const auto found = by_name_.find(*name); found != by_name_.end()) return found->second;
    const std::string_view near = suggestions_ < kMaxSuggestions ? nearest(*name, known_) : std::string_view{};
    ++suggestions_;
    value.error("no target is called " + in_quotes(*name) +
                (near.empty() ? "; name one of those under `targets`" : "; did you mean " + std::string(near) + "?"));
    return std::nullopt;
  }

 private:
  /// Each looks at all names.
  static constexpr std::size_t kMaxSuggestions = 20;

  std::unordered_map<std::string_view, std::uint32_t> by_name_;
  std::vector<std::string_view> known_;
  std::size_t suggestions_ = 0;
};

void parse_exports(const Section& top, Config& config) {
  const auto values = top.required("exports", "a list of {name, target, lun}; without one there is nothing to serve")
                          .list("exports with name, target and lun; without one there is nothing to serve");
  if (!values) return;
  TargetNames targets(config.targets);
  std::set<std::string> names;
  std::map<std::pair<std::uint32_t, std::uint64_t>, std::string> taken;
  for (const Value& value : *values) {
    const auto section = value.section(keys::kExport);
    if (!section) continue;
    Export exported;
    const Value name = section->required("name", "vol0");
    assign(exported.name, name.text());
    if (name.given() && !exported.name.empty()) {
      if (const std::string wrong = check_export_name(exported.name); !wrong.empty()) name.error(wrong);
      if (!names.insert(exported.name).second) name.error("another export is called " + in_quotes(exported.name));
    }
    const Value description = section->get("description");
    assign(exported.description, description.text());
    if (const std::string wrong = check_description(exported.description); !wrong.empty()) description.error(wrong);
    assign(exported.read_only, section->get("read_only").boolean());
    assign(exported.required, section->get("required").boolean());
    if (const auto index = section->get("same_disk").choice(kSameDiskWords)) exported.same_disk = kSameDisks[*index];

    const auto target = targets.find(section->required("target", "array"));
    const Value lun = section->required("lun", "1");
    const auto number = lun.integer(0, kMaxLun);
    assign(exported.lun, std::optional(number));
    if (target && number) {
      exported.target = *target;
      const auto [first, fresh] = taken.try_emplace({*target, *number}, exported.name);
      if (!fresh) {
        lun.error("export " + in_quotes(first->second) +
                  " is this logical unit already; overlapping writes are kept apart within one export only");
      }
    }
    config.exports.push_back(std::move(exported));
  }
}

void warn_of_unused_targets(const Section& top, const Config& config, Report& report) {
  const std::vector<bool> used = used_targets(config);
  for (std::uint32_t i = 0; i < config.targets.size(); ++i) {
    if (!used[i]) {
      report.warning(top.get("targets").element_mark(i), "targets[" + std::to_string(i) + "]",
                     "no export uses target " + in_quotes(config.targets[i].name) + "; it will not be logged in to");
    }
  }
}

void parse_document(const YAML::Node& document, const FileReader& reader, Report& report, Config& config) {
  const auto top = Value(document, "", report).section(keys::kTop);
  if (!top) return;
  const auto listen = top->required("listen", "{nbd: [\"tcp://127.0.0.1:10809\"]}").section(keys::kListen);
  if (listen) parse_listen(*listen, config.listen);
  const Value admin_addresses = listen ? listen->get("admin") : Value::absent("listen.admin", report);
  parse_admin(admin_addresses, top->get("admin"), report.file(), reader, config);
  parse_limits(*top, config);
  if (const auto section = top->get("log").section(keys::kLog)) {
    if (const auto level = section->get("level").choice(kLogLevels)) config.log.level = static_cast<LogLevel>(*level);
    if (const auto format = section->get("format").choice(kLogFormats))
      config.log.format = static_cast<LogFormat>(*format);
  }
  if (const auto folder = top->get("state_dir").text()) {
    if (folder->starts_with('/'))
      config.state_dir = *folder;
    else
      top->get("state_dir").error("expected an absolute path, found \"" + *folder + "\"");
  }
  parse_initiator(*top, config.initiator);
  parse_targets(*top, report.file(), reader, config.targets);
  parse_exports(*top, config);
  if (!report.failed()) warn_of_unused_targets(*top, config, report);
}

}  // namespace

namespace {

/// Notes where the first node of each document begins.
class DocumentStarts final : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark&) override { inside_ = false; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override { note(mark); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { note(mark); }
  void OnScalar(const YAML::Mark& mark, const std::string&, YAML::anchor_t, const std::string&) override {
    note(mark);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    note(mark);
  }
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    note(mark);
  }
  void OnMapEnd() override {}

  std::vector<YAML::Mark> starts;

 private:
  void note(const YAML::Mark& mark) {
    if (!inside_) starts.push_back(mark);
    inside_ = true;
  }

  bool inside_ = false;
};

/// The first two documents. Not YAML::LoadAll(): where no document can begin (a stray comma), yaml-cpp 0.7 finds
/// empty ones without end, until the memory is gone.
std::vector<YAML::Mark> document_starts(const std::string& text) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  DocumentStarts handler;
  for (int count = 0; count < 2 && parser.HandleNextDocument(handler); ++count) {
  }
  return std::move(handler.starts);
}

}  // namespace

namespace {

/// False, with a message: the file has control characters, which YAML forbids. yaml-cpp takes one of them (04h) for
/// the end of the file, and leaves out what is behind it.
bool is_plain_text(std::string_view text, Report& report) {
  YAML::Mark mark;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\t' && c != '\n' && c != '\r') || byte == 0x7f) {
      report.error(mark, "",
                   "the control character " + in_quotes(std::string_view(&c, 1)) +
                       " cannot stand in YAML; the file is plain text in UTF-8");
      return false;
    }
    ++mark.column;
    if (c != '\n') continue;
    ++mark.line;
    mark.column = 0;
  }
  return true;
}

}  // namespace

ParseResult parse(std::string_view yaml, const std::string& file, const FileReader& reader) {
  ParseResult result;
  Report report(file);
  Config config;
  if (!is_plain_text(yaml, report)) {
    report.hand_over(result);
    return result;
  }
  try {
    const std::string text(yaml);
    const std::vector<YAML::Mark> starts = document_starts(text);
    const YAML::Node document = YAML::Load(text);
    if (starts.empty() || document.IsNull()) {
      report.error(YAML::Mark::null_mark(), "", "is empty; nbdgw.yaml(5) shows the least that it needs");
    } else if (starts.size() > 1) {
      report.error(starts[1], "", "a second document begins here; a configuration is one document");
    } else {
      parse_document(document, reader, report, config);
    }
  } catch (const YAML::Exception& e) {
    report.error(e.mark, "", "is no YAML: " + e.msg);
  }
  if (!report.failed()) result.config = std::move(config);
  report.hand_over(result);
  return result;
}

ParseResult load(const std::string& path, const FileReader& reader) {
  const FileContent content = reader.read(path, kMaxFileSize);
  if (content.error.empty()) return parse(content.text, path, reader);
  ParseResult result;
  result.errors.push_back({path, 0, 0, "", "cannot be read: " + content.error});
  return result;
}

}  // namespace nbdgw::config
