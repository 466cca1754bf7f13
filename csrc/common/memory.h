// Fresh memory: large outputs on huge pages and past the caches, and buffers that a thread keeps.
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

// Puts huge pages under a new tensor: with small ones, the page faults of the first writes take longer than the kernel. Each
// is touched here by one thread; two that met on an untouched page would both clear one.
inline void prefer_huge_pages(const Tensor& tensor) {
#if defined(__linux__)
  constexpr uintptr_t kPage = uintptr_t(1) << 21;
  const uintptr_t address = reinterpret_cast<uintptr_t>(tensor.mutable_data_ptr());
  const uintptr_t begin = (address + kPage - 1) & ~(kPage - 1), end = (address + bytes_of(tensor)) & ~(kPage - 1);
  if (end <= begin) return;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // a hint: failing costs nothing but time
  for_each_piece((end - begin) / kPage, [&](int64_t i) { *reinterpret_cast<volatile char*>(begin + i * kPage) = 0; });
#endif
}

// Results of more bytes are written past the caches: they would not stay there until they are read. Fuzzing sets it low.
#if defined(SPNAS_MOST_CACHED)
constexpr int64_t kMostCached = SPNAS_MOST_CACHED;
#else
constexpr int64_t kMostCached = int64_t(16) << 20;
#endif

// Memory of at least `count` values that this thread keeps for the next call; its contents are undefined.
template <typename Value>
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
