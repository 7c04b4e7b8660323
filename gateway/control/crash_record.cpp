#include "gateway/control/crash_record.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string_view>
#include <type_traits>
#include <utility>

#include "gateway/net/stream_socket.hpp"
#include "proto/crc32c.hpp"

namespace nbdgw::control {
namespace {

constexpr std::string_view kMagic = "nbdgwrec";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kBootId = 36, kIqn = 224, kName = 512;

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

/// What was stored before this is there before what is stored after it, wherever the process is killed.
void stored() noexcept {
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

std::runtime_error failure(const std::filesystem::path& path, int error) {
  return std::runtime_error(fmt::format("{}: {}", path.string(), net::error_text(error)));
}

/// Others could have written what they like into it, or cut it off under us.
const char* why_not_ours(const struct stat& status) noexcept {
  if (!S_ISREG(status.st_mode)) return "is no file";
  if (status.st_uid != ::geteuid()) return "belongs to another user";
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) return "may be written by other users";
  return nullptr;
}

}  // namespace

struct CrashRecord::Header {
  enum class State : std::uint8_t {
    alive,  // a process is at work, or has died
    told,   // there is nothing in it that is not known elsewhere
    ended,  // in good order, and nobody was told
  };
  std::array<char, kMagic.size()> magic;
  std::uint32_t version;
  std::uint32_t slot_size;  // bytes
  std::array<char, kBootId> boot;
  State state;
};

struct CrashRecord::Slot {
  enum class Use : std::uint8_t {
    none,
    taken,   // by an export
    before,  // left by an export, or a process, that was there before
  };
  std::uint32_t sum;  // of the names
  Use use;
  std::uint16_t iqn_length;
  std::uint16_t name_length;
  std::uint64_t lun;
  std::array<char, kIqn> iqn;
  std::array<char, kName> name;
  bridge::LunRecord record;

  std::uint32_t names_sum() const noexcept {
    std::uint32_t crc = proto::crc32c(0, &lun, sizeof lun);
    for (const std::string_view text : {text_of(iqn, iqn_length), text_of(name, name_length)})
      crc = proto::crc32c(crc, text.data(), text.size());
    return crc;
  }
};

struct CrashRecord::File {
  Header header;
  std::array<Slot, kLuns> slots;
};

CrashRecord::CrashRecord(const std::filesystem::path& folder, proto::Micros now) : path_(folder / "record") {
  static_assert(std::is_trivially_copyable_v<File>);
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  fd_ = net::UniqueFd(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
  if (!fd_) throw failure(path_, errno);
  struct stat status {};
  if (::fstat(fd_.get(), &status) != 0) throw failure(path_, errno);
  if (const char* why = why_not_ours(status)) throw std::runtime_error(path_.string() + " " + why);
  if (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0)
    throw errno == EWOULDBLOCK
        ? std::runtime_error(path_.string() + " belongs to another nbdgw that runs: give each its own state_dir")
        : failure(path_, errno);
  if (::fstat(fd_.get(), &status) != 0) throw failure(path_, errno);
  const auto size = static_cast<std::size_t>(status.st_size);
  const std::size_t slots = size < sizeof(Header) ? 0 : (size - offsetof(File, slots)) / sizeof(Slot);
  take_room(std::min(slots, kLuns));
  // Behind the end of the file there is nothing to be touched yet: see take_room().
  void* const memory =
      ::mmap(nullptr, sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd_.get(), 0);
  if (memory == MAP_FAILED) throw failure(path_, errno);
  file_ = static_cast<File*>(memory);
  read_what_is_left(now);
}

CrashRecord::~CrashRecord() {
  ::munmap(file_, sizeof(File));
}

/// A file with holes in it would end the process (SIGBUS) when the file system is full.
void CrashRecord::take_room(std::size_t slots) {
  const std::size_t size = offsetof(File, slots) + slots * sizeof(Slot);
  int error = 0;
  do error = ::posix_fallocate(fd_.get(), 0, static_cast<off_t>(size));
  while (error == EINTR);
  if (error != 0) throw failure(path_, error);
  slots_ = slots;
}

void CrashRecord::read_what_is_left(proto::Micros now) {
  const std::string boot = boot_id();
  Header& header = file_->header;
  const bool ours = text_of(header.magic, header.magic.size()) == kMagic && header.version == kVersion &&
                    header.slot_size == sizeof(Slot) && text_of(header.boot, header.boot.size()) == boot;
  before_died_ = ours && header.state != Header::State::told && header.state != Header::State::ended;
  const bool tells = before_died_ || (ours && header.state == Header::State::ended);
  for (Slot& slot : std::span(file_->slots).first(slots_)) {
    const bool used = tells && (slot.use == Slot::Use::taken || slot.use == Slot::Use::before);
    const bool whole = used && slot.sum == slot.names_sum();
    // It stays there until those are there who come in its place: this process may die before that.
    slot.use = whole ? Slot::Use::before : Slot::Use::none;
    if (whole) left_.push_back(read(slot, before_died_, now));
  }
  if (ours) {
    header.state = Header::State::alive;
    return;
  }
  header.magic = {};
  stored();
  header.version = kVersion;
  header.slot_size = sizeof(Slot);
  std::ranges::copy(boot, header.boot.begin());
  header.state = Header::State::alive;
  stored();
  std::ranges::copy(kMagic, header.magic.begin());
}

/// Nothing in it is trusted: a process that was killed may have stopped between any two stores.
shard::ExportLegacy CrashRecord::read(const Slot& slot, bool died, proto::Micros now) const {
  const bridge::LunRecord& record = slot.record;
  const bool possible = record.cache.possible();
  shard::ExportLegacy legacy{.name = std::string(text_of(slot.name, slot.name_length)),
                             .iqn = std::string(text_of(slot.iqn, slot.iqn_length)),
                             .lun = slot.lun,
                             .cache = {.cache = record.cache,
                                       .seen_at = record.seen_at,
                                       .path_was_up = false,
                                       .disk = record.disk(),
                                       .power_on = record.learnt(),
                                       .writes_left = record.writing != 0 || record.left_before != 0,
                                       .unjudged = died && record.unjudged != 0}};
  bridge::CacheLegacy& cache = legacy.cache;
  if (cache.seen_at < 0 || cache.seen_at > now) cache.seen_at = 0;
  // All that counts: something may be unflushed, and somebody is to be told.
  if (!possible) cache.cache = {.acknowledged = 1, .debts = 1, .debt_writes = 1};
  for (std::uint32_t i = std::min(record.owed_unnamed, bridge::kMaxDebtsLeft); i > 0; --i) cache.cache.leave_debt(1);
  for (std::size_t i = 0; i < bridge::LunRecord::kPlaces; ++i) {
    if (auto place = record.place(i)) initiator::note_left(cache.left, {.group = *std::move(place)});
  }
  for (const bridge::LunRecord::Client& client : record.clients) {
    using Standing = bridge::LunRecord::Standing;
    if (client.standing != Standing::told && client.standing != Standing::owed) continue;
    cache.absent.push_back({.token = std::string(text_of(client.token, client.token_length)),
                            .owed = !possible || client.standing == Standing::owed});
  }
  return legacy;
}

CrashRecord::Slot* CrashRecord::find(const std::string& iqn, std::uint64_t lun, const std::string& name) noexcept {
  for (Slot& slot : std::span(file_->slots).first(slots_)) {
    if (slot.use == Slot::Use::taken && slot.lun == lun && text_of(slot.iqn, slot.iqn_length) == iqn &&
        text_of(slot.name, slot.name_length) == name)
      return &slot;
  }
  return nullptr;
}

bridge::LunRecord* CrashRecord::take(const std::string& iqn, std::uint64_t lun, const std::string& name) noexcept {
  const std::span<Slot> slots(file_->slots);
  const auto free = std::ranges::find(slots.first(slots_), Slot::Use::none, &Slot::use) - slots.begin();
  if (static_cast<std::size_t>(free) == slots_) {
    if (slots_ == kLuns) return nullptr;
    try {
      take_room(slots_ + 1);
    } catch (const std::runtime_error&) {
      return nullptr;
    }
  }
  Slot& slot = slots[static_cast<std::size_t>(free)];
  std::memset(static_cast<void*>(&slot), 0, sizeof slot);
  if (!put(slot.iqn, slot.iqn_length, iqn) || !put(slot.name, slot.name_length, name)) return nullptr;
  slot.lun = lun;
  slot.sum = slot.names_sum();
  stored();
  slot.use = Slot::Use::taken;
  return &slot.record;
}

void CrashRecord::give_back(const std::string& iqn, std::uint64_t lun, const std::string& name) noexcept {
  if (Slot* const slot = find(iqn, lun, name); slot != nullptr) slot->use = Slot::Use::before;
}

void CrashRecord::settle() noexcept {
  stored();
  for (Slot& slot : std::span(file_->slots).first(slots_)) {
    if (slot.use == Slot::Use::before) slot.use = Slot::Use::none;
  }
}

void CrashRecord::end(const std::vector<shard::ExportLegacy>& legacies, bool told) noexcept {
  for (Slot& slot : std::span(file_->slots).first(slots_)) slot.record.writing = slot.record.left_before = 0;
  for (const shard::ExportLegacy& legacy : legacies) {
    if (Slot* const slot = find(legacy.iqn, legacy.lun, legacy.name); slot != nullptr)
      slot->record.put_left(legacy.cache.writes_left, legacy.cache.left);
  }
  stored();
  file_->header.state = told ? Header::State::told : Header::State::ended;
}

}  // namespace nbdgw::control
