#pragma once

#include <cstddef>
#include <memory>
#include <new>

#include "proto/assert.hpp"

namespace nbdgw::bridge {

/// A fixed number of objects of one kind, allocated once. An object is constructed when it is first taken, so memory
/// that a quiet export never needs is never touched; afterwards it is reused as it is, and whoever takes it sets it
/// up. The one given back last is taken first, for it is still in the cache.
///
/// T has a member `T* next_free`, which belongs to the slab.
template <typename T>
class Slab {
 public:
  explicit Slab(std::size_t capacity)
      : memory_(static_cast<T*>(::operator new (capacity * sizeof(T), std::align_val_t{alignof(T)}))),
        capacity_(capacity) {}

  ~Slab() {
    for (std::size_t i = 0; i < constructed_; ++i) memory_.get()[i].~T();
  }

  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;

  /// nullptr when all are out.
  T* take() {
    if (free_ != nullptr) {
      T* const object = free_;
      free_ = object->next_free;
      object->next_free = nullptr;
      ++used_;
      return object;
    }
    if (constructed_ == capacity_) return nullptr;
    ++used_;
    return new (memory_.get() + constructed_++) T();
  }

  void give_back(T& object) noexcept {
    NBDGW_ASSERT(used_ > 0, "an object is given back once");
    --used_;
    object.next_free = free_;
    free_ = &object;
  }

  /// Calls `look(T&)` for each object that was ever taken, whether it is out or not.
  template <typename Look>
  void for_each(Look look) {
    for (std::size_t i = 0; i < constructed_; ++i) look(memory_.get()[i]);
  }

  std::size_t used() const noexcept { return used_; }
  std::size_t available() const noexcept { return capacity_ - used_; }
  std::size_t capacity() const noexcept { return capacity_; }

 private:
  struct Release {
    void operator()(T* memory) const noexcept { ::operator delete (memory, std::align_val_t{alignof(T)}); }
  };

  std::unique_ptr<T, Release> memory_;
  std::size_t capacity_;
  std::size_t constructed_ = 0;
  std::size_t used_ = 0;
  T* free_ = nullptr;
};

}  // namespace nbdgw::bridge
