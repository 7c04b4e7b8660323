#include <doctest/doctest.h>

#include <sys/uio.h>

#include <vector>

#include "tests/sim/piece.hpp"
#include "tests/sim/pipe.hpp"
#include "tests/sim/random.hpp"
#include "tests/sim/zero_memory.hpp"

namespace nbdgw::sim {
namespace {

using Buffer = std::vector<std::uint8_t>;

Buffer numbered(std::size_t size) {
  Buffer data(size);
  for (std::size_t i = 0; i < size; ++i) data[i] = static_cast<std::uint8_t>(i + i / 256 * 7 + 1);
  return data;
}

Bytes part(const Buffer& data, std::size_t begin, std::size_t size) {
  return Bytes(data).subspan(begin, size);
}

/// Only stamps are kept, and all of them are right.
bool has_stamps(const Buffer& found, std::size_t phase, const Buffer& sent) {
  for (std::size_t i = 0; i < found.size(); ++i) {
    const std::uint8_t wanted = (phase + i) % kCellBytes < kStampBytes ? sent[i] : std::uint8_t{0};
    if (found[i] != wanted) return false;
  }
  return true;
}

TEST_CASE("pieces: stamps come through whatever the pieces are") {
  const Buffer sent = numbered(5000);
  Random random(1);
  for (int round = 0; round < 200; ++round) {
    const std::size_t phase = random.below(2 * kCellBytes);
    Row row;
    row.restart(kStampBytes, phase);
    for (std::size_t done = 0; done < sent.size();) {
      const std::size_t n = std::min<std::size_t>(sent.size() - done, 1 + random.below(700));
      row.append(part(sent, done, n));
      done += n;
    }
    CHECK(row.size() == sent.size());
    Buffer found(sent.size());
    for (std::size_t done = 0; done < found.size();) {
      const std::size_t n = std::min<std::size_t>(found.size() - done, 1 + random.below(700));
      move({found.data() + done, 0, n, kCellBytes}, row.view().subspan(done, n));
      done += n;
    }
    CHECK(has_stamps(found, phase, sent));
  }
}

TEST_CASE("pieces: what is not known is rubbish, wherever it goes") {
  const Buffer sent = numbered(2 * kCellBytes);
  Row from, to;
  from.restart(kStampBytes);
  from.append(Bytes(sent));
  to.restart(kStampBytes, 8);
  to.append(from.view());
  CHECK(to.view().base[8] == sent[0]);
  CHECK(to.view().base[kStampBytes + 8] == sent[kCellBytes]);
  CHECK(to.view().base[kStampBytes] == 0xee);  // 504 of the first cell
  ByteBuffer plain;
  append(plain, from.view());
  CHECK((plain.data()[15] == sent[15] && plain.data()[16] == 0xee && plain.data()[512] == sent[512]));
}

TEST_CASE("pieces: a pipe keeps headers whole, and of payload the stamps") {
  const Buffer header = numbered(48);
  const Buffer sent = numbered(3 * kCellBytes);
  Pipe pipe;
  pipe.put(Bytes(header));
  pipe.put(Bytes(sent), kStampBytes, 100);
  pipe.end_of_put();
  pipe.put(Bytes(header));
  pipe.end_of_put();
  pipe.arrive(pipe.held());
  CHECK((pipe.front().plain() && pipe.front_goes_on()));
  Buffer first(20), rest(28 + sent.size() + header.size());
  const iovec buffers[] = {{first.data(), first.size()}, {rest.data(), rest.size()}};
  CHECK(pipe.take(buffers, 1) == 20);
  pipe.consume(28);
  CHECK((!pipe.front().plain() && !pipe.front_goes_on()));
  CHECK(pipe.take(buffers + 1, 1) == sent.size() + header.size());
  CHECK(std::equal(first.begin(), first.end(), header.begin()));
  CHECK(has_stamps(Buffer(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(sent.size())), 100, sent));
  CHECK(std::equal(header.begin(), header.end(), rest.begin() + static_cast<std::ptrdiff_t>(sent.size())));
  CHECK(pipe.held() == 0);
}

TEST_CASE("pieces: rows are cut anywhere") {
  const Buffer sent = numbered(2000);
  Rows rows;
  rows.append(part(sent, 0, 48));
  Row payload;
  payload.restart(kStampBytes);
  payload.append(part(sent, 48, 1024));
  rows.append(payload.view().first(600));
  rows.append(payload.view().subspan(600));
  rows.append_zeroes(3);
  CHECK(rows.size() == 48 + 1024 + 3);
  const std::span<const Piece> cut = rows.first(48 + 512 + 4);
  REQUIRE(cut.size() == 2);
  CHECK((cut[0].size() == 48 && cut[1].size() == 516));
  CHECK(rows.first(rows.size()).size() == 3);
}

TEST_CASE("pieces: memory that was used before is full of zeroes") {
  for (int round = 0; round < 2; ++round) {
    ZeroMemory memory(3 << 20);
    for (const std::size_t at : {std::size_t{0}, std::size_t{4095}, std::size_t{(3 << 20) - 2}}) {
      CHECK((memory.data()[at] == 0 && memory.data()[at + 1] == 0));
      std::uint8_t* const two = memory.write(at, 2);
      two[0] = two[1] = 1;
    }
    memory.resize(5 << 20);
    CHECK((memory.data()[4095] == 1 && memory.data()[4 << 20] == 0));
  }
}

}  // namespace
}  // namespace nbdgw::sim
