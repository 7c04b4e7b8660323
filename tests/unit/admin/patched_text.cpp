// A text that is written over in place, held against one that is made anew each time.
#include "gateway/admin/patched_text.hpp"

#include <random>
#include <string_view>
#include <utility>

#include <doctest/doctest.h>

#include "tests/unit/random.hpp"

using namespace nbdgw::admin;
using namespace nbdgw::http;

namespace {

std::string joined(const SharedText& text) {
  std::string all;
  for (const auto& piece : text) all += *piece;
  return all;
}

/// Without joining it: what is compared hundreds of times is megabytes long.
bool is_same(const SharedText& text, std::string_view as) {
  for (const auto& piece : text) {
    if (!as.starts_with(*piece)) return false;
    as.remove_prefix(piece->size());
  }
  return as.empty();
}

std::string joined(const std::vector<std::string>& parts) {
  std::size_t size = 0;
  for (const std::string& part : parts) size += part.size();
  std::string all;
  all.reserve(size);
  for (const std::string& part : parts) all += part;
  return all;
}

std::string any_part(std::mt19937_64& random, std::size_t longest) {
  return std::string(random() % (longest + 1), static_cast<char>('a' + random() % 26));
}

PatchedText laid_out(const std::vector<std::string>& parts, std::vector<PatchedText::Place>& places) {
  PatchedText text;
  places.clear();
  for (const std::string& part : parts) places.push_back(text.append(part));
  return text;
}

}  // namespace

TEST_CASE("patched text: whatever is replaced, it is the parts one behind the other; what is held does not change") {
  std::mt19937_64 random = nbdgw::test::seeded_random();
  for (const std::size_t longest : {3U, 300U, 40'000U}) {
    CAPTURE(longest);
    std::vector<std::string> parts(200);
    for (std::string& part : parts) part = any_part(random, longest);
    std::vector<PatchedText::Place> places;
    PatchedText text = laid_out(parts, places);
    std::vector<std::pair<SharedText, std::string>> held;  // and what it was when it was handed out
    for (int round = 0; round < 200; ++round) {
      for (std::size_t changes = random() % 6; changes > 0; --changes) {
        const std::size_t i = random() % parts.size();
        // Often as long as it was, as numbers are.
        parts[i] = random() % 2 == 0 ? std::string(parts[i].size(), '0' + static_cast<char>(random() % 10))
                                     : any_part(random, longest);
        text.replace(places[i], parts[i]);
      }
      SharedText now = text.share();
      std::string whole = joined(parts);
      REQUIRE(is_same(now, whole));
      for (const auto& [shared, was] : held) REQUIRE(is_same(shared, was));
      if (random() % 3 == 0) held.emplace_back(std::move(now), std::move(whole));
      if (!held.empty() && random() % 4 == 0)
        held.erase(held.begin() + static_cast<std::ptrdiff_t>(random() % held.size()));
      if (random() % 50 == 0) text = laid_out(parts, places);  // with answers of the old one on their way
    }
  }
}

TEST_CASE("patched text: only the piece that changes is copied, and only while it is held") {
  const std::vector<std::string> parts(100, std::string(1000, 'x'));
  std::vector<PatchedText::Place> places;
  PatchedText text = laid_out(parts, places);
  const SharedText held = text.share();
  REQUIRE(held.size() > 2);
  text.replace(places[50], "y");
  const SharedText second = text.share();
  REQUIRE(second.size() == held.size());
  std::size_t other = 0;
  for (std::size_t i = 0; i < held.size(); ++i) other += held[i] != second[i] ? 1 : 0;
  CHECK(other == 1);
  CHECK(joined(held) == joined(parts));

  const std::string* const at = text.share().front().get();  // nobody but `held` has that piece
  text.replace(places[0], "z");
  const std::string* const copied = text.share().front().get();
  CHECK(copied != at);
  text.replace(places[0], "longer");
  text.replace(places[1], "");
  CHECK(text.share().front().get() == copied);
  CHECK(text.share().front()->starts_with("longerxxx"));
}

TEST_CASE("patched text: of nothing") {
  PatchedText text;
  CHECK(text.share().empty());
  const PatchedText::Place place = text.append("");
  CHECK(joined(text.share()).empty());
  text.replace(place, "something");
  CHECK(joined(text.share()) == "something");
  text.clear();
  CHECK(text.share().empty());
}
