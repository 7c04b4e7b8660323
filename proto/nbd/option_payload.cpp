#include "proto/nbd/option_payload.hpp"

#include "proto/bytes/endian.hpp"
#include "proto/nbd/constants.hpp"

namespace nbdgw::proto::nbd {
namespace {

constexpr std::size_t kNameLengthField = 4;
constexpr std::size_t kCountField = 2;
constexpr std::size_t kInfoField = 2;

}  // namespace

const char* check_export_name(std::string_view name) noexcept {
  if (name.size() > kMaxString) return "The export name is longer than 4096 bytes.";
  if (name.find('\0') != std::string_view::npos) return "The export name contains a NUL byte.";
  return nullptr;
}

const char* parse_info_request(std::span<const std::uint8_t> data, InfoRequest& out) noexcept {
  if (data.size() < kNameLengthField + kCountField) return "The option's data is too short for INFO or GO.";
  const std::size_t name_length = load_be32(data.data());
  if (name_length > data.size() - kNameLengthField - kCountField)
    return "The export name does not fit into the option's data.";
  out.export_name = {reinterpret_cast<const char*>(data.data()) + kNameLengthField, name_length};
  if (const char* wrong = check_export_name(out.export_name)) return wrong;

  const auto rest = data.subspan(kNameLengthField + name_length);
  const std::size_t count = load_be16(rest.data());
  const auto infos = rest.subspan(kCountField);
  if (infos.size() != count * kInfoField)
    return "The number of information requests does not fit the option's length.";
  out.infos = {};
  for (std::size_t i = 0; i < count; ++i) {
    switch (static_cast<Info>(load_be16(infos.data() + i * kInfoField))) {
      case Info::name:
        out.infos.name = true;
        break;
      case Info::description:
        out.infos.description = true;
        break;
      case Info::block_size:
        out.infos.block_size = true;
        break;
      case Info::export_:  // always sent
      default:             // unknown: to be ignored
        break;
    }
  }
  return nullptr;
}

}  // namespace nbdgw::proto::nbd
