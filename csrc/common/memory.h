// Fresh memory: large outputs on huge pages, and buffers that a thread keeps.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "common/stable.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace spnas {

// Asks for huge pages under a new tensor: with small ones, the page faults of the first writes take longer than the kernel.
inline void prefer_huge_pages(const Tensor& tensor) {
#if defined(__linux__)
  constexpr uintptr_t kPage = uintptr_t(1) << 21;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) + kPage - 1) & ~(kPage - 1);
  const uintptr_t end = (reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) + tensor.numel() * tensor.element_size()) & ~(kPage - 1);
  if (end > begin) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // a hint: failing costs nothing but time
#endif
}

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
