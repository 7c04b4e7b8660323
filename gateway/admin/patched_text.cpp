#include "gateway/admin/patched_text.hpp"

#include "proto/assert.hpp"

namespace nbdgw::admin {

namespace {

/// A piece that has so much gets no further part. Smaller ones move less when a part grows; but the whole page of a
/// gateway with 64 exports shall leave in one system call, which takes 64 buffers (those of the header included).
constexpr std::size_t kPieceSize = std::size_t{32} * 1024;
/// Parts grow: room for that, so that it is no new allocation.
constexpr std::size_t kPieceRoom = kPieceSize + kPieceSize / 4;

}  // namespace

PatchedText::Place PatchedText::append(std::string_view part) {
  if (pieces_.empty() || pieces_.back().text->size() >= kPieceSize) {
    pieces_.push_back({std::make_shared<std::string>(), {}});
    pieces_.back().text->reserve(kPieceRoom);
  }
  Piece& piece = pieces_.back();
  NBDGW_ASSERT(piece.text.use_count() == 1, "a text is whole before it is handed out");
  piece.text->append(part);
  piece.ends.push_back(static_cast<std::uint32_t>(piece.text->size()));
  return {static_cast<std::uint32_t>(pieces_.size() - 1), static_cast<std::uint32_t>(piece.ends.size() - 1)};
}

void PatchedText::replace(Place place, std::string_view part) {
  Piece& piece = pieces_[place.piece];
  if (piece.text.use_count() > 1) {
    auto copy = std::make_shared<std::string>();
    copy->reserve(kPieceRoom);
    copy->append(*piece.text);
    piece.text = std::move(copy);
  }
  const std::uint32_t begin = place.part == 0 ? 0 : piece.ends[place.part - 1];
  const std::uint32_t length = piece.ends[place.part] - begin;
  piece.text->replace(begin, length, part);
  if (part.size() == length) return;
  const auto shift = static_cast<std::uint32_t>(part.size()) - length;  // of a shorter one it wraps, and back
  for (std::size_t i = place.part; i < piece.ends.size(); ++i) piece.ends[i] += shift;
}

http::SharedText PatchedText::share() const {
  http::SharedText shared;
  shared.reserve(pieces_.size());
  for (const Piece& piece : pieces_) shared.push_back(piece.text);
  return shared;
}

}  // namespace nbdgw::admin
