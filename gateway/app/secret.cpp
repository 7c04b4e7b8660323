#include "config/secret.hpp"

#include <fmt/core.h>

#include "gateway/app/commands.hpp"

namespace nbdgw::app {

std::optional<std::string> load_secret(const std::string& path) {
  config::FileContent content = config::SystemFileReader().read(path, 4 * config::kLongestSecret);
  if (const std::string wrong = config::take_secret(path, content); !wrong.empty()) {
    fmt::print(stderr, "nbdgw: {}\n", wrong);
    return std::nullopt;
  }
  return std::move(content.text);
}

}  // namespace nbdgw::app
