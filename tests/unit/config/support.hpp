#pragma once

#include <map>
#include <string>
#include <vector>

#include "config/parse.hpp"
#include "tests/unit/certificates.hpp"

namespace nbdgw::config::test {

/// Files that exist in the test's imagination only.
class MemoryFiles : public FileReader {
 public:
  FileContent read(const std::string& path, std::size_t max_size) const override {
    const auto found = files.find(path);
    if (found == files.end()) return {"", 0, "No such file or directory"};
    if (found->second.text.size() > max_size) return {"", 0, "is longer than " + std::to_string(max_size) + " bytes"};
    return found->second;
  }

  std::map<std::string, FileContent> files;
};

/// Real files, but what the examples name beside themselves, which only their reader has, is there and as it should
/// be.
class ExampleFiles : public SystemFileReader {
 public:
  FileContent read(const std::string& path, std::size_t max_size) const override {
    if (path.find("secrets/") != std::string::npos) {
      // A token may have no spaces; two secrets of one target must differ.
      return {"secret-of-" + path.substr(path.rfind('/') + 1), 0600, ""};
    }
    if (path.ends_with(".key")) return {server_.key, 0600, ""};
    if (path.ends_with(".crt")) return {server_.certificate, 0644, ""};
    return SystemFileReader::read(path, max_size);
  }

 private:
  nbdgw::test::Identity server_ = nbdgw::test::make_identity();
};

/// A good configuration; line numbers in the tests count from its first line.
inline const std::string kGood = R"(listen:
  nbd: ["tcp://127.0.0.1:10809"]
initiator:
  name: iqn.2026-11.com.example:host-1
targets:
  - name: array
    iqn: iqn.2003-01.org.linux-iscsi.array:t1
    portals: ["192.0.2.10:3260"]
exports:
  - name: vol0
    target: array
    lun: 1
)";

/// `text` with its first `from` replaced by `to`; throws if there is none, for then the test is wrong.
inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
  return text.replace(text.find(from), from.size(), to);
}

inline std::vector<std::string> strings(const std::vector<Problem>& problems) {
  std::vector<std::string> out;
  for (const Problem& problem : problems) out.push_back(problem.to_string());
  return out;
}

/// The errors of a file called "f".
inline std::vector<std::string> errors(const std::string& yaml, const FileReader& files = MemoryFiles()) {
  const ParseResult result = parse(yaml, "f", files);
  // A configuration comes out exactly if nothing is wrong.
  if (result.config.has_value() == !result.errors.empty()) return {"config and errors do not fit together"};
  return strings(result.errors);
}

using Lines = std::vector<std::string>;

}  // namespace nbdgw::config::test

namespace doctest {
template <>
struct StringMaker<std::vector<std::string>> {
  static String convert(const std::vector<std::string>& lines) {
    std::string all;
    for (const std::string& line : lines) all += "\n  " + line;
    return all.c_str();
  }
};
}  // namespace doctest
