#include "gateway/app/demo_data.hpp"

#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include <doctest/doctest.h>

using namespace nbdgw::app;

namespace {

void write_file(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

TEST_CASE("random files have the size asked for, and differ") {
  const TemporaryFolder folder;
  ProgressLine progress("test data");
  constexpr std::uint64_t kSize = (2 << 20) + 12345;
  write_random_file(folder.file("a"), kSize, progress);
  write_random_file(folder.file("b"), kSize, progress);
  progress.finish("there");
  CHECK(std::filesystem::file_size(folder.file("a")) == kSize);
  CHECK(first_difference(folder.file("a"), folder.file("b")));
  CHECK_FALSE(first_difference(folder.file("a"), folder.file("a")));
  CHECK_THROWS_AS(write_random_file(folder.file("a"), 1, progress), std::system_error);
}

TEST_CASE("the first difference is found") {
  const TemporaryFolder folder;
  const std::string same(3 << 20, 'x');
  write_file(folder.file("a"), same);
  const auto compare = [&](const std::string& other) {
    write_file(folder.file("b"), other);
    return first_difference(folder.file("a"), folder.file("b"));
  };
  CHECK_FALSE(compare(same));
  for (const std::size_t at : {std::size_t{0}, std::size_t{1} << 20, (std::size_t{2} << 20) - 1, same.size() - 1}) {
    std::string other = same;
    other[at] = 'y';
    CHECK(compare(other) == at);
  }
  CHECK(compare(same + "x") == same.size());
  CHECK(compare(same.substr(1)) == same.size() - 1);
  CHECK(compare("") == 0);
  CHECK_THROWS_AS(first_difference(folder.file("a"), folder.file("none")), std::system_error);
}

TEST_CASE("a temporary folder goes with all that is in it") {
  std::string path;
  {
    const TemporaryFolder folder;
    path = folder.file("a");
    write_file(path, "text");
    CHECK(slurp(path) == "text");
  }
  CHECK_FALSE(std::filesystem::exists(std::filesystem::path(path).parent_path()));
}
