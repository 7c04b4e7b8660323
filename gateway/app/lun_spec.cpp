#include "gateway/app/lun_spec.hpp"

#include "config/units.hpp"

namespace nbdgw::app {

namespace {

constexpr std::uint64_t kLargest = 1ULL << 50;  // bytes; beyond, the size is a typing mistake

/// The text before the next comma, which is cut off `rest` with it.
std::string_view next_item(std::string_view& rest) {
  const std::size_t comma = rest.find(',');
  const std::string_view item = rest.substr(0, comma);
  rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
  return item;
}

std::string set_property(std::string_view item, LunSpec& spec) {
  const std::size_t equals = item.find('=');
  const std::string_view key = item.substr(0, equals);
  const std::string_view value = equals == std::string_view::npos ? std::string_view{} : item.substr(equals + 1);
  if (item == "read_only") {
    spec.read_only = true;
    return {};
  }
  if (item == "write_through") {
    spec.write_through = true;
    return {};
  }
  if (key == "size") {
    const auto size = config::parse_size(value);
    if (!size || *size == 0 || *size > kLargest) {
      return "\"" + std::string(value) + "\" is no size; write for example size=1GiB";
    }
    spec.size = *size;
    return {};
  }
  if (key == "block") {
    if (value != "512" && value != "4096") return "\"" + std::string(value) + "\": a block has 512 or 4096 bytes";
    spec.block_size = value == "512" ? 512 : 4096;
    return {};
  }
  return "\"" + std::string(item) + "\" is unknown; size=SIZE, block=512|4096, read_only and write_through are there";
}

}  // namespace

std::string parse_lun_spec(std::string_view text, LunSpec& spec) {
  spec = LunSpec{};
  const std::size_t colon = text.find(':');
  const std::string_view kind = text.substr(0, colon);
  if (colon == std::string_view::npos || (kind != "memory" && kind != "file")) {
    return "expected memory:size=SIZE or file:PATH[,size=SIZE]";
  }
  std::string_view rest = text.substr(colon + 1);
  if (kind == "file") {
    spec.kind = LunSpec::Kind::file;
    spec.path = next_item(rest);
    if (spec.path.empty()) return "the path is missing; write for example file:/var/tmp/disk.img,size=1GiB";
  }
  std::string seen = ",";
  while (!rest.empty()) {
    const std::string_view item = next_item(rest);
    const std::string key = std::string(item.substr(0, item.find('='))) + ",";
    if (seen.find("," + key) != std::string::npos) return "\"" + std::string(item) + "\": given twice";
    seen += key;
    if (std::string wrong = set_property(item, spec); !wrong.empty()) return wrong;
  }
  if (spec.kind == LunSpec::Kind::memory && spec.size == 0)
    return "the size is missing; write for example memory:size=1GiB";
  if (spec.size % spec.block_size != 0) {
    return "the size is no multiple of the block (" + std::to_string(spec.block_size) + " bytes)";
  }
  return {};
}

}  // namespace nbdgw::app
