// What one reader of YAML takes for this and another for that, and what no program can use: refused in every place.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include "tests/unit/config/support.hpp"

using namespace nbdgw::config;
using namespace nbdgw::config::test;

namespace {

const std::string kFull = std::string(NBDGW_SOURCE_DIR) + "/config/examples/full.yaml";

/// A line of the full example, which has every key, and the value in it.
struct Place {
  std::size_t line;
  std::string before, value;
};

std::vector<std::string> full_lines() {
  std::ifstream file(kFull);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::vector<Place> places() {
  static const std::regex kValue("( *(- )?([a-z0-9_]+: +)?)([^ #].*?)( +#.*)?");
  static const std::regex kMapping("(- )?[a-z0-9_]+:");
  std::vector<Place> found;
  const auto lines = full_lines();
  for (std::size_t i = 0; i < lines.size(); ++i) {
    std::smatch match;
    if (!std::regex_match(lines[i], match, kValue) || std::regex_match(match[4].str(), kMapping)) continue;
    found.push_back({i, match[1], match[4]});
  }
  return found;
}

/// The errors in that line when another value stands there.
Lines errors_with(const Place& place, const std::string& value) {
  auto lines = full_lines();
  lines[place.line] = place.before + value;
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  static const ExampleFiles files;
  const ParseResult result = parse(text, kFull, files);
  CHECK_FALSE(result.config);
  Lines there;
  for (const Problem& problem : result.errors) {
    if (static_cast<std::size_t>(problem.line) == place.line + 1) there.push_back(problem.text);
  }
  return there;
}

bool one_says(const Lines& lines, const std::string& text) {
  return std::ranges::any_of(lines, [&](const std::string& line) { return line.find(text) != std::string::npos; });
}

const std::string kHead = R"(listen:
  nbd: ["tcp://127.0.0.1:10809"]
initiator:
  name: iqn.2026-11.com.example:host-1
)";

}  // namespace

TEST_CASE("no number, size or time has a leading zero") {
  static const std::regex kNumber("[0-9]+[A-Za-z]*");
  int count = 0;
  for (const Place& place : places()) {
    if (!std::regex_match(place.value, kNumber)) continue;
    CAPTURE(place.before);
    for (const char* zeros : {"0", "00"}) CHECK(one_says(errors_with(place, zeros + place.value), "leading zero"));
    ++count;
  }
  CHECK(count > 20);
  CHECK(errors(replaced(kGood, "lun: 1", "lun: 01")) ==
        Lines{"f:12:10: exports[0].lun: expected a whole number from 0 to 16383, found \"01\" (write it without the "
              "leading zero, which makes it octal to some readers of YAML)"});
  CHECK(errors(replaced(kGood, "lun: 1", "lun: 0")) == Lines{});
  for (const char* port : {"0", "010809", "08080"}) {
    CAPTURE(port);
    const bool good = std::string(port) == "0";
    CHECK((errors(replaced(kGood, "1:10809", "1:" + std::string(port))) == Lines{}) == good);
  }
  CHECK(errors(replaced(kGood, "10:3260", "10:03260")).size() == 1);
}

TEST_CASE("no value has a tag that would make something else of it") {
  int count = 0;
  for (const Place& place : places()) {
    CAPTURE(place.before);
    for (const char* tag : {"!!binary ", "!!int ", "!mine ", "!<tag:example.com,2026:x> "}) {
      CAPTURE(tag);
      CHECK(errors_with(place, tag + place.value).size() == 1);
    }
    ++count;
  }
  CHECK(count > 50);
  CHECK(errors(replaced(kGood, "name: vol0", "name: !!binary dm9sMA==")) ==
        Lines{"f:10:11: exports[0].name: found the tag \"!!binary\"; write the value as it is, without a tag"});
  CHECK(errors(replaced(kGood, "name: vol0", "name: !!str vol0")) == Lines{});
  CHECK(one_says(errors(replaced(kGood, "exports:\n", "exports: !!set\n")), "the tag"));
  CHECK(one_says(errors(replaced(kGood, "initiator:\n", "initiator: !!omap\n")), "the tag"));
  CHECK(one_says(errors(replaced(kGood, "    lun:", "    !!binary lun:")), "before the key"));
}

TEST_CASE("no text has a NUL byte, wherever it stands") {
  int count = 0;
  for (const Place& place : places()) {
    if (place.value.starts_with('[')) continue;
    CAPTURE(place.before);
    const std::string bare =
        place.value.starts_with('"') ? place.value.substr(1, place.value.size() - 2) : place.value;
    for (const std::string& value : {"\"" + bare + "\\0\"", "\"\\0" + bare + "\"", "\"a\\0" + bare + "\""}) {
      const Lines said = errors_with(place, value);
      REQUIRE(said.size() >= 1);
      CHECK(said[0].find('\0') == std::string::npos);
    }
    ++count;
  }
  CHECK(count > 50);
  const Lines unix_path = errors(replaced(kGood, "tcp://127.0.0.1:10809", "unix:///run/n\\0bd.sock"));
  REQUIRE(unix_path.size() == 1);
  CHECK(unix_path[0].starts_with("f:2:9: listen.nbd[0]: has a NUL byte in it"));
}

TEST_CASE("control characters in the file are told, with their place: yaml-cpp would end at one of them") {
  for (int c = 1; c < 0x80; ++c) {
    if ((c >= 0x20 && c != 0x7f) || c == '\t' || c == '\n' || c == '\r') continue;
    CAPTURE(c);
    const Lines said = errors(kGood + "# " + static_cast<char>(c) + "\nnonsense: 1\n");
    REQUIRE(said.size() == 1);
    CHECK(said[0].starts_with("f:13:3: the control character"));
  }
  CHECK(errors(kGood + std::string(1, '\0'))[0].starts_with("f:13:1: the control character \"\\x00\""));
}

// Where each of many things was compared with all the others, these would take minutes.

TEST_CASE("a file full of targets, and of exports that name none of them") {
  std::ostringstream text;
  text << kHead << "targets:\n";
  for (int i = 0; i < 8000; ++i)
    text << "  - {name: tgt" << i << ", iqn: \"iqn.2003-01.x:" << i << "\", portals: [h]}\n";
  text << "exports:\n";
  for (int i = 0; i < 8000; ++i) text << "  - {name: v" << i << ", target: tgt" << i << "x, lun: 0}\n";
  const Lines said = errors(text.str());
  CHECK(said.size() == 8000);
  CHECK(said.front().find("did you mean") != std::string::npos);
  CHECK(said.back().find("name one of those under") != std::string::npos);
}

TEST_CASE("a file full of portals, and one full of addresses") {
  std::ostringstream portals, addresses;
  for (int i = 0; i < 100'000; ++i) portals << (i > 0 ? "," : "") << 'h' << i;
  for (int i = 0; i < 50'000; ++i) addresses << (i > 0 ? "," : "") << "\"tcp://h" << i << '"';
  CHECK(errors(replaced(kGood, "\"192.0.2.10:3260\"", portals.str())) ==
        Lines{"f:8:14: targets[0].portals: has 100000 portals; at most 32 are used"});
  const ParseResult result = parse(replaced(kGood, "\"tcp://127.0.0.1:10809\"", addresses.str()), "f", MemoryFiles());
  REQUIRE(result.config);
  CHECK(result.config->listen.nbd.size() == 50'000);
}

TEST_CASE("as many exports as a target has LUNs, and what is made of them") {
  std::ostringstream text;
  text << kHead << "targets:\n  - {name: a, iqn: \"iqn.2003-01.x:1\", portals: [h]}\nexports:\n";
  for (int i = 0; i < 16'384; ++i) text << "  - {name: v" << i << ", target: a, lun: " << i << "}\n";
  const ParseResult result = parse(text.str(), "f", MemoryFiles());
  REQUIRE(result.config);
  CHECK(result.config->exports.size() == 16'384);
  CHECK(used_targets(*result.config) == std::vector<bool>{true});
}
