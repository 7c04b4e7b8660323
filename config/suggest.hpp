#pragma once

#include <span>
#include <string_view>

namespace nbdgw::config {

/// The candidate that `word` was probably meant to be: the one with the fewest insertions, deletions, replacements
/// and swaps of neighbours, if that is at most a third of the word's length (but 1 at least). Empty: none is near.
std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace nbdgw::config
