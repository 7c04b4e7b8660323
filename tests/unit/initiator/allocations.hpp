#pragma once

#include <cstdint>
#include <utility>

namespace nbdgw::test {

/// Counts what the engine allocates: the tests' operator new counts while a call into it runs, and not in what it
/// calls back.
struct Allocations {
  static inline int depth = 0;
  static inline std::uint64_t in_engine = 0;
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
