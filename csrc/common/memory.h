// Fresh memory: huge pages under large outputs, and work buffers.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "common/allocation.h"
#include "common/parallel.h"
#include "common/stable.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace spnas {

// Asks for huge pages under a tensor that nothing was written to yet, and overwrites a byte of each: with small pages, the
// faults of the first writes take longer than the kernel, and two threads that meet on an untouched page both clear one.
inline void fault_huge_pages(Tensor& tensor) {
#if defined(__linux__)
  constexpr uintptr_t kPage = uintptr_t(1) << 21;
  const uintptr_t address = reinterpret_cast<uintptr_t>(tensor.mutable_data_ptr());
  const uintptr_t begin = (address + kPage - 1) & ~(kPage - 1), end = (address + bytes_of(tensor)) & ~(kPage - 1);
  if (end <= begin) return;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // a hint: failing costs nothing but time
  for_each_piece((end - begin) / kPage, [&](int64_t i) { *reinterpret_cast<volatile char*>(begin + i * kPage) = 0; });
#endif
}

// Results of more bytes are written past the caches where whole lines are written at once: pooled features, and gradients
// of channels-last ones. Below, what comes next reads them faster from the caches; measured on 2 cores with 2 MiB of L2
// each. Fuzzing sets it low.
#if defined(SPNAS_MOST_CACHED)
constexpr int64_t kMostCached = SPNAS_MOST_CACHED;
#else
constexpr int64_t kMostCached = int64_t(16) << 20;
#endif

// Memory that grows to what is asked for, from one piece of work to the next; it starts at a line of the cache, and its
// contents are undefined.
class Buffer {
 public:
  template <typename Value>
  Value* room_for(size_t count) {
    const size_t bytes = (count * sizeof(Value) + kLine - 1) / kLine * kLine;
    if (size_ < bytes) {
      data_.reset();  // first, so that both are never there
      data_.reset(std::aligned_alloc(kLine, bytes));
      size_ = data_ ? bytes : 0;
      require(data_ != nullptr, "out of memory: you tried to allocate ", bytes, " bytes for a work buffer");
    }
    return static_cast<Value*>(data_.get());
  }

 private:
  static constexpr size_t kLine = 64;

  std::unique_ptr<void, decltype(&std::free)> data_{nullptr, &std::free};
  size_t size_ = 0;
};

}  // namespace spnas
