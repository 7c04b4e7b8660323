#include "config/secret.hpp"

#include <doctest/doctest.h>

#include "tests/unit/config/support.hpp"

using namespace nbdgw::config;
using namespace nbdgw::config::test;

namespace {

/// kGood with an auth section whose lines begin in line 9.
std::string with_chap(const std::string& chap) {
  return replaced(kGood, "exports:\n", "    auth:\n      chap:\n" + chap + "exports:\n");
}

const std::string kOneWay = "        user: me\n        secret_file: /s/one\n";
const std::string kMutual = kOneWay + "        mutual: {user: you, secret_file: /s/two}\n";

MemoryFiles two_secrets() {
  MemoryFiles files;
  files.files["/s/one"] = {"a secret of ours\n", 0600, ""};
  files.files["/s/two"] = {"a secret of theirs\r\n", 0440, ""};
  return files;
}

}  // namespace

TEST_CASE("CHAP one-way and mutual") {
  const ParseResult one_way = parse(with_chap(kOneWay), "f", two_secrets());
  REQUIRE(strings(one_way.errors) == Lines{});
  CHECK(strings(one_way.warnings) == Lines{});
  Chap chap;
  chap.credentials = {"me", "a secret of ours"};
  CHECK(one_way.config->targets[0].chap == chap);

  const ParseResult mutual = parse(with_chap(kMutual + "        algorithms: [md5, sha256]\n"), "f", two_secrets());
  REQUIRE(strings(mutual.errors) == Lines{});
  chap.mutual = {"you", "a secret of theirs"};
  chap.algorithms = {ChapAlgorithm::md5, ChapAlgorithm::sha256};
  CHECK(mutual.config->targets[0].chap == chap);
}

TEST_CASE("CHAP: what is wrong") {
  MemoryFiles files = two_secrets();
  CHECK(
      errors(with_chap("        user: me\n"), files) ==
      Lines{
          "f:11:9: targets[0].auth.chap.secret_file: is missing; for example secret_file: /etc/nbdgw/array.secret"});
  CHECK(errors(with_chap("        user: me\n        secret: hunter2\n"), files).back() ==
        "f:12:9: targets[0].auth.chap.secret: unknown key; secrets do not stand in this file: write secret_file: "
        "PATH of "
        "a file that holds it");
  CHECK(errors(with_chap(kOneWay + "        algorithms: [md5, sha26]\n"), files) ==
        Lines{"f:13:27: targets[0].auth.chap.algorithms[1]: expected sha3-256, sha256, sha1 or md5, found "
              "\"sha26\"; did "
              "you mean sha256?"});
  CHECK(errors(with_chap(kOneWay + "        algorithms: [md5, md5]\n"), files) ==
        Lines{"f:13:27: targets[0].auth.chap.algorithms[1]: md5 is in the list twice"});
  CHECK(errors(replaced(kGood, "exports:\n", "    auth: {}\nexports:\n"), files)[0].starts_with(
      "f:9:11: targets[0].auth.chap: is missing"));
  files.files["/s/two"].text = files.files["/s/one"].text;
  REQUIRE(errors(with_chap(kMutual), files).size() == 1);
  CHECK(errors(with_chap(kMutual), files)[0].starts_with(
      "f:13:17: targets[0].auth.chap.mutual: both directions have the same secret"));
}

TEST_CASE("secret files: permissions and content") {
  const auto wrong = [](std::string text, unsigned mode) {
    FileContent content{std::move(text), mode, ""};
    return take_secret("/s", content);
  };
  CHECK(wrong("0123456789ab\n", 0600) == "");
  CHECK(wrong("0123456789ab", 0640) == "");
  CHECK(wrong("0123456789ab\n", 0644) == "/s is open to every user of this machine; do: chmod o-rwx /s");
  CHECK(wrong("0123456789ab\n", 0602) == "/s is open to every user of this machine; do: chmod o-rwx /s");
  CHECK(wrong("", 0600) == "/s is empty; it must hold the secret, in one line");
  CHECK(wrong("\n", 0600) == "/s is empty; it must hold the secret, in one line");
  CHECK(wrong("\r\n", 0600) == "/s is empty; it must hold the secret, in one line");
  CHECK(wrong("a\n\n", 0600) == "/s has several lines; it must hold the secret alone, in one line");
  CHECK(wrong("a\nb\n", 0600) == "/s has several lines; it must hold the secret alone, in one line");
  CHECK(wrong(std::string("a\0b", 3), 0600) == "/s has a NUL byte in it; it must hold the secret as text");
  CHECK(wrong(std::string(255, 'a') + "\n", 0600) == "");
  CHECK(wrong(std::string(256, 'a'), 0600) == "/s holds 256 bytes; a secret has at most 255");

  FileContent content{" with spaces \n", 0600, ""};
  CHECK(take_secret("/s", content) == "");
  CHECK(content.text == " with spaces ");
}

TEST_CASE("secret files: where they are looked for, and short secrets") {
  MemoryFiles files;
  files.files["/etc/nbdgw/s"] = {"0123456789ab\n", 0600, ""};
  files.files["s"] = {"short\n", 0600, ""};
  const std::string yaml = with_chap("        user: me\n        secret_file: s\n");
  const ParseResult beside = parse(yaml, "/etc/nbdgw/nbdgw.yaml", files);
  REQUIRE(strings(beside.errors) == Lines{});
  CHECK(beside.config->targets[0].chap->credentials.secret == "0123456789ab");
  CHECK(strings(beside.warnings) == Lines{});

  const ParseResult here = parse(yaml, "f", files);
  REQUIRE(strings(here.errors) == Lines{});
  CHECK(here.config->targets[0].chap->credentials.secret == "short");
  CHECK(strings(here.warnings) ==
        Lines{"f:12:22: targets[0].auth.chap.secret_file: the secret has 5 bytes; fewer than "
              "12 can be guessed from one login seen on the network"});

  files.files.erase("s");
  CHECK(errors(yaml, files) ==
        Lines{"f:12:22: targets[0].auth.chap.secret_file: cannot read s: No such file or directory"});
}
