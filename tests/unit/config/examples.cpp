// The files under config/ that users read: examples and schema must say what the parser does.
#include <yaml-cpp/yaml.h>

#include <filesystem>
#include <set>

#include <doctest/doctest.h>

#include "config/keys.hpp"
#include "config/parse.hpp"
#include "tests/unit/config/support.hpp"

using namespace nbdgw::config;
using namespace nbdgw::config::test;

namespace {

std::filesystem::path config_folder() {
  return std::filesystem::path(NBDGW_SOURCE_DIR) / "config";
}

YAML::Node schema() {
  // JSON is YAML.
  return YAML::LoadFile((config_folder() / "nbdgw.schema.json").string());
}

/// Every key under `node` of the schema, as "targets[].name"; lists of plain values add none.
void collect(const YAML::Node& node, const std::string& path, std::set<std::string>& found) {
  if (node["items"]) collect(node["items"], path + "[]", found);
  if (!node["properties"]) return;
  // What is a mapping in the schema must be as strict as the parser.
  CHECK_MESSAGE((node["additionalProperties"] && !node["additionalProperties"].as<bool>()), path);
  for (const auto& item : node["properties"]) {
    const std::string key = (path.empty() ? "" : path + ".") + item.first.as<std::string>();
    found.insert(key);
    collect(item.second, key, found);
  }
}

}  // namespace

TEST_CASE("every example is a good configuration") {
  int count = 0;
  const ExampleFiles files;
  for (const auto& entry : std::filesystem::directory_iterator(config_folder() / "examples")) {
    CAPTURE(entry.path().string());
    CHECK(entry.path().extension() == ".yaml");
    const ParseResult result = load(entry.path().string(), files);
    CHECK(strings(result.errors) == Lines{});
    ++count;
  }
  CHECK(count >= 2);
}

TEST_CASE("the full example has every key") {
  const YAML::Node full = YAML::LoadFile((config_folder() / "examples" / "full.yaml").string());
  for (const keys::Mapping& mapping : keys::kAll) {
    YAML::Node node = full;
    std::string rest(mapping.path);
    while (!rest.empty()) {
      const std::size_t dot = rest.find('.');
      std::string part = rest.substr(0, dot);
      rest = dot == std::string::npos ? "" : rest.substr(dot + 1);
      const bool list = part.ends_with("[]");
      if (list) part.resize(part.size() - 2);
      node.reset(list ? node[part][0] : node[part]);
    }
    for (const std::string_view key : mapping.keys) {
      CHECK_MESSAGE(node[std::string(key)].IsDefined(), mapping.path, ": ", key);
    }
  }
}

TEST_CASE("the schema has the parser's keys, no more and no fewer") {
  std::set<std::string> in_schema;
  collect(schema(), "", in_schema);
  std::set<std::string> in_parser;
  for (const keys::Mapping& mapping : keys::kAll) {
    for (const std::string_view key : mapping.keys) {
      in_parser.insert(mapping.path.empty() ? std::string(key) : std::string(mapping.path) + "." + std::string(key));
    }
  }
  CHECK(in_schema == in_parser);
}

TEST_CASE("the schema's defaults are the model's") {
  // A file that says every default aloud must come to the same as one that says none.
  const YAML::Node properties = schema()["properties"];
  const auto spell_out = [](const YAML::Node& mapping, YAML::Node into) {
    int defaults = 0;
    for (const auto& item : mapping["properties"]) {
      if (!item.second["default"]) continue;
      into[item.first.as<std::string>()] = item.second["default"];
      ++defaults;
    }
    return defaults;
  };
  YAML::Node file = YAML::Load(kGood);
  CHECK(spell_out(properties["limits"], file["limits"]) == 5);
  CHECK(spell_out(properties["log"], file["log"]) == 2);
  file["workers"] = properties["workers"]["default"];
  const YAML::Node target = properties["targets"]["items"];
  CHECK(spell_out(target, file["targets"][0]) == 15);
  CHECK(spell_out(target["properties"]["timeouts"], file["targets"][0]["timeouts"]) == 10);
  file["targets"][0]["header_digest"] = schema()["$defs"]["digest"]["default"];
  CHECK(spell_out(properties["exports"]["items"], file["exports"][0]) == 3);

  YAML::Emitter text;
  text << file;
  // The emitter copies the quotes of the JSON file; numbers and words there have none to begin with.
  std::string yaml = text.c_str();
  std::erase(yaml, '"');
  CAPTURE(yaml);
  const ParseResult aloud = parse(yaml, "f", MemoryFiles());
  REQUIRE(strings(aloud.errors) == Lines{});
  CHECK(*aloud.config == *parse(kGood, "f", MemoryFiles()).config);
}
