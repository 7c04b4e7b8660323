#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/http/message.hpp"

namespace nbdgw::admin {

/// A long text of which little changes from one look to the next: it stays where it is, parts of it are written over,
/// and it is handed out without being copied. It lies in pieces, so that a part that grows moves what is behind it in
/// its piece only, and a piece that somebody still holds is copied before it is changed, and only that one. One
/// thread, which is also where those who hold it let go.
class PatchedText {
 public:
  /// Where a part is, for as long as the text is not cleared.
  struct Place {
    std::uint32_t piece = 0;
    std::uint32_t part = 0;  // in the piece
  };

  void clear() noexcept { pieces_.clear(); }
  Place append(std::string_view part);
  /// Writes another part in that one's place, of whatever length.
  void replace(Place place, std::string_view part);

  /// The text as it is now, one piece behind the other. It does not change any more.
  http::SharedText share() const;

 private:
  struct Piece {
    std::shared_ptr<std::string> text;
    std::vector<std::uint32_t> ends;  // of its parts
  };

  std::vector<Piece> pieces_;
};

}  // namespace nbdgw::admin
