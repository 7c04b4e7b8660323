#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "proto/assert.hpp"

namespace nbdgw::shard {

/// Answers from several threads, put together. Who is asked gets a part along with the question, and answers it or
/// lets go of it. What is posted to a shard that has ended is destroyed, so nobody waits for that one. When no part
/// is left `done` is called, once, on the thread that had the last.
///
/// There is no time limit: who does not want to wait any more may go, and `done` must bear that.
template <typename Answer>
class Gather {
  struct Sheet;

 public:
  /// By part, in the order in which they were given out; nothing: it was let go of.
  using Answers = std::vector<std::optional<Answer>>;
  using Done = std::function<void(Answers)>;

  /// For one thread; its copies are the same part.
  class Part {
   public:
    /// Once, and lets go of it.
    void answer(Answer answer) {
      NBDGW_ASSERT(sheet_ != nullptr, "a part is answered once");
      sheet_->answers[index_] = std::move(answer);
      sheet_.reset();
    }

   private:
    friend class Gather;
    Part(std::shared_ptr<Sheet> sheet, std::size_t index) : sheet_(std::move(sheet)), index_(index) {}

    std::shared_ptr<Sheet> sheet_;
    std::size_t index_;
  };

  /// `done` is not called before this object has gone, too.
  Gather(std::size_t parts, Done done) : sheet_(std::make_shared<Sheet>(parts, std::move(done))) {}
  Gather(const Gather&) = delete;
  Gather& operator=(const Gather&) = delete;

  /// The next one.
  Part part() {
    NBDGW_ASSERT(given_ < sheet_->answers.size(), "as many parts as were announced");
    return Part(sheet_, given_++);
  }

 private:
  struct Sheet {
    Sheet(std::size_t parts, Done then) : answers(parts), done(std::move(then)) {}
    ~Sheet() { done(std::move(answers)); }
    Sheet(const Sheet&) = delete;
    Sheet& operator=(const Sheet&) = delete;

    Answers answers;  // no lock: each is written by one thread, and they are read when all have let go
    Done done;
  };

  std::shared_ptr<Sheet> sheet_;
  std::size_t given_ = 0;
};

/// Whether none was let go of.
template <typename Answer>
bool all_answered(const std::vector<std::optional<Answer>>& answers) {
  return std::ranges::all_of(answers, [](const auto& each) { return each.has_value(); });
}

}  // namespace nbdgw::shard
