// Fresh memory: huge pages under large outputs, and buffers that a thread keeps.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "common/parallel.h"
#include "common/stable.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace spnas {

inline int64_t bytes_of(const Tensor& tensor) { return tensor.numel() * int64_t(tensor.element_size()); }

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

// Memory of at least `count` values that this thread keeps for the next call with this name; it starts at a line of the cache,
// and its contents are undefined.
template <typename Name, typename Value>
Value* thread_buffer(size_t count) {
  struct Buffer {
    std::unique_ptr<Value[], decltype(&std::free)> data{nullptr, &std::free};
    size_t size = 0;
  };
  static thread_local Buffer buffer;
  if (buffer.size < count) {
    const size_t bytes = (count * sizeof(Value) + 63) / 64 * 64;
    buffer.data.reset(static_cast<Value*>(std::aligned_alloc(64, bytes)));
    buffer.size = buffer.data ? count : 0;
    require(buffer.data != nullptr, "out of memory: a work buffer of ", bytes, " bytes could not be allocated");
  }
  return buffer.data.get();
}

}  // namespace spnas
