#pragma once

#include <cstdint>
#include <utility>

namespace nbdgw::test {

/// Counts heap allocations. A test program that links `test_allocations` has an operator new that does it.
struct Allocations {
  static inline std::uint64_t total = 0;
  /// Those inside in_engine() only, and not in what the engine calls back.
  static inline std::uint64_t in_engine = 0;
  static inline int depth = 0;
};

class OutsideEngine {
 public:
  OutsideEngine() : depth_(std::exchange(Allocations::depth, 0)) {}
  ~OutsideEngine() { Allocations::depth = depth_; }
  OutsideEngine(const OutsideEngine&) = delete;
  OutsideEngine& operator=(const OutsideEngine&) = delete;

 private:
  int depth_;
};

template <typename Call>
decltype(auto) in_engine(Call call) {
  struct Scope {
    Scope() { ++Allocations::depth; }
    ~Scope() { --Allocations::depth; }
  } scope;
  return call();
}

}  // namespace nbdgw::test
