#include "gateway/control/crash_record.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string_view>
#include <type_traits>
#include <utility>

#include "gateway/net/stream_socket.hpp"

namespace nbdgw::control {
namespace {

constexpr std::string_view kMagic = "nbdgwrec";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kBootId = 36, kIqn = 224, kName = 4096 / 8;

/// The clocks in a record are those of the machine since it was booted.
std::string boot_id() {
  std::string id;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), id);
  id.resize(kBootId);
  return id;
}

template <std::size_t size>
bool put(std::array<char, size>& to, std::uint16_t& length, std::string_view text) noexcept {
  if (text.size() > size) return false;
  std::ranges::copy(text, to.begin());
  length = static_cast<std::uint16_t>(text.size());
  return true;
}

template <std::size_t size>
std::string_view text_of(const std::array<char, size>& from, std::size_t length) noexcept {
  return {from.data(), std::min(length, size)};
}

std::runtime_error failure(const std::filesystem::path& path, int error) {
  return std::runtime_error(fmt::format("{}: {}", path.string(), net::error_text(error)));
}

}  // namespace

struct CrashRecord::Header {
  enum class State : std::uint8_t {
    told,   // there is nothing in it that is not known elsewhere
    alive,  // a process is at work, or has died
    ended,  // in good order, and nobody was told
  };
  std::array<char, kMagic.size()> magic;
  std::uint32_t version;
  std::uint32_t size;  // of the whole file, bytes
  std::array<char, kBootId> boot;
  State state;
};

struct CrashRecord::Slot {
  std::uint8_t used;
  std::uint16_t iqn_length;
  std::uint16_t name_length;
  std::uint64_t lun;
  std::array<char, kIqn> iqn;
  std::array<char, kName> name;
  bridge::LunRecord record;
};

struct CrashRecord::File {
  Header header;
  std::array<Slot, kLuns> slots;
};

CrashRecord::CrashRecord(const std::filesystem::path& folder) {
  static_assert(std::is_trivially_copyable_v<File>);
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  const std::filesystem::path path = folder / "record";
  fd_ = net::UniqueFd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd_) throw failure(path, errno);
  if (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0)
    throw errno == EWOULDBLOCK
        ? std::runtime_error(path.string() + " belongs to another nbdgw that runs: give each its own state_dir")
        : failure(path, errno);
  struct stat status {};
  const bool same_size = ::fstat(fd_.get(), &status) == 0 && status.st_size == static_cast<off_t>(sizeof(File));
  // What is not ours by its size is begun anew, as nothing of it can be read.
  if (!same_size && (::ftruncate(fd_.get(), 0) != 0 || ::ftruncate(fd_.get(), sizeof(File)) != 0))
    throw failure(path, errno);
  void* const memory = ::mmap(nullptr, sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  if (memory == MAP_FAILED) throw failure(path, errno);
  file_ = static_cast<File*>(memory);
  begin();
}

CrashRecord::~CrashRecord() {
  ::munmap(file_, sizeof(File));
}

void CrashRecord::begin() {
  const std::string boot = boot_id();
  Header& header = file_->header;
  const bool ours = text_of(header.magic, header.magic.size()) == kMagic && header.version == kVersion &&
                    header.size == sizeof(File) && text_of(header.boot, header.boot.size()) == boot;
  before_died_ = ours && header.state == Header::State::alive;
  if (before_died_ || (ours && header.state == Header::State::ended)) {
    for (const Slot& slot : file_->slots) {
      if (slot.used != 0) left_.push_back(read(slot));
    }
  }
  for (Slot& slot : file_->slots) slot.used = 0;
  std::ranges::copy(kMagic, header.magic.begin());
  header.version = kVersion;
  header.size = sizeof(File);
  std::ranges::copy(boot, header.boot.begin());
  header.state = Header::State::alive;
}

/// Nothing in it is trusted: a process that was killed may have stopped between any two stores.
shard::ExportLegacy CrashRecord::read(const Slot& slot) const {
  const bridge::LunRecord& record = slot.record;
  const auto text = [](const bridge::LunRecord::Text& from) { return std::string(text_of(from.bytes, from.length)); };
  shard::ExportLegacy legacy{.name = std::string(text_of(slot.name, slot.name_length)),
                             .iqn = std::string(text_of(slot.iqn, slot.iqn_length)),
                             .lun = slot.lun,
                             .cache = {.cache = record.cache,
                                       .seen_at = record.seen_at,
                                       .path_was_up = false,
                                       .disk = {text(record.designator), text(record.serial)},
                                       .power_on = {.login_is_silent = record.login_is_silent != 0,
                                                    .reset_is_silent = record.reset_is_silent != 0},
                                       .writes_left = record.wrote != 0}};
  bridge::CacheNumbers& numbers = legacy.cache.cache;
  if (!numbers.possible()) numbers = {.acknowledged = 1};  // all that counts: something may be unflushed
  for (const bridge::LunRecord::Client& client : record.clients) {
    using Standing = bridge::LunRecord::Standing;
    if (client.standing != Standing::told && client.standing != Standing::owed) continue;
    legacy.cache.absent.push_back({.token = std::string(text_of(client.token, client.token_length)),
                                   .owed = client.standing == Standing::owed});
  }
  return legacy;
}

CrashRecord::Slot* CrashRecord::find(const std::string& iqn, std::uint64_t lun, const std::string& name) noexcept {
  const auto found = std::ranges::find_if(file_->slots, [&](const Slot& slot) {
    return slot.used != 0 && slot.lun == lun && text_of(slot.iqn, slot.iqn_length) == iqn &&
           text_of(slot.name, slot.name_length) == name;
  });
  return found == file_->slots.end() ? nullptr : &*found;
}

bridge::LunRecord* CrashRecord::take(const std::string& iqn, std::uint64_t lun, const std::string& name) noexcept {
  const auto free = std::ranges::find(file_->slots, 0, &Slot::used);
  if (free == file_->slots.end()) return nullptr;
  if (!put(free->iqn, free->iqn_length, iqn) || !put(free->name, free->name_length, name)) return nullptr;
  free->lun = lun;
  std::memset(static_cast<void*>(&free->record), 0, sizeof free->record);
  free->used = 1;
  return &free->record;
}

void CrashRecord::give_back(const std::string& iqn, std::uint64_t lun, const std::string& name) noexcept {
  if (Slot* const slot = find(iqn, lun, name); slot != nullptr) slot->used = 0;
}

void CrashRecord::end(const std::vector<shard::ExportLegacy>& legacies, bool told) noexcept {
  for (const shard::ExportLegacy& legacy : legacies) {
    if (Slot* const slot = find(legacy.iqn, legacy.lun, legacy.name); slot != nullptr)
      slot->record.wrote = legacy.cache.writes_left ? 1 : 0;
  }
  file_->header.state = told ? Header::State::told : Header::State::ended;
}

}  // namespace nbdgw::control
