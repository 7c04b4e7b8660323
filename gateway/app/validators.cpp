#include "gateway/app/validators.hpp"

#include <string>

#include "config/units.hpp"

namespace nbdgw::app {

CLI::Validator duration() {
  return {[](std::string& text) {
            const auto time = config::parse_duration(text);
            return time && *time > 0 ? std::string() : "\"" + text + "\" is no duration; write for example 30s";
          },
          "DURATION"};
}

}  // namespace nbdgw::app
