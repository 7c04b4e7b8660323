#include "gateway/admin/process_figures.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstring>
#include <future>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "gateway/net/unique_fd.hpp"

using namespace nbdgw;

TEST_CASE("process figures: are about this process") {
  const admin::ProcessFigures before = admin::process_figures();
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  CHECK(before.started_at > now - 3600);
  CHECK(before.started_at <= now + 1);  // the clock may have been set meanwhile, by less
  CHECK(before.resident_bytes > 1 << 20);
  CHECK(before.virtual_bytes >= before.resident_bytes);
  CHECK(before.threads >= 1);
  CHECK(before.open_fds >= 3);
  CHECK(before.max_fds >= before.open_fds);

  std::promise<void> end;
  std::thread another([&] { end.get_future().wait(); });
  std::vector<net::UniqueFd> files;
  for (int i = 0; i < 10; ++i) files.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  // From the system itself: the allocator may have as much in hand from earlier tests, resident already.
  constexpr std::size_t kSize = 32 << 20;
  void* const memory = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  std::memset(memory, 1, kSize);
  const admin::ProcessFigures after = admin::process_figures();
  CHECK(after.threads == before.threads + 1);
  CHECK(after.open_fds == before.open_fds + 10);
  CHECK(after.resident_bytes >= before.resident_bytes + (16 << 20));
  CHECK(after.cpu_seconds > before.cpu_seconds);
  CHECK(after.started_at == before.started_at);
  CHECK(static_cast<char*>(memory)[kSize - 1] == 1);
  ::munmap(memory, kSize);
  end.set_value();
  another.join();
}
