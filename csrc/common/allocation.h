// Fresh tensors, whose lack of memory is told as torch tells it. Through the stable ABI torch's own words are lost, and by
// them callers know that less memory would do.
#pragma once

#include <iomanip>
#include <optional>
#include <vector>

#include "common/stable.h"
#if defined(USE_CUDA)
#include "common/cuda.h"
#endif

namespace spnas {

using torch::headeronly::MemoryFormat;

inline int64_t bytes_of(const Tensor& tensor) { return tensor.numel() * int64_t(tensor.element_size()); }

[[noreturn]] inline void refuse_allocation(int64_t bytes) {
#if defined(USE_CUDA)
  size_t free = 0, total = 0;
  STD_CUDA_CHECK(cudaMemGetInfo(&free, &total));  // an earlier kernel's failure is no lack of memory, and told here
  const auto gibibytes = [](auto count) { return double(count) / (int64_t(1) << 30); };
  refuse(std::fixed, std::setprecision(2), "CUDA out of memory. Tried to allocate ", gibibytes(bytes), " GiB. The GPU has ",
         gibibytes(free), " of ", gibibytes(total), " GiB free");
#else
  refuse("out of memory: you tried to allocate ", bytes, " bytes");
#endif
}

inline int64_t bytes_of(ScalarType type) {
  switch (type) {
    case ScalarType::Byte: return 1;
    case ScalarType::Half:
    case ScalarType::BFloat16: return 2;
    case ScalarType::Float:
    case ScalarType::Int: return 4;
    default: return 8;
  }
}

inline int64_t bytes_for(const std::vector<int64_t>& sizes, int64_t element) {
  constexpr double kMostBytes = 0x1p63;
  double bytes = double(element);
  for (const int64_t size : sizes) bytes *= double(size);
  require(bytes < kMostBytes, "Storage size calculation overflowed: a tensor of ", bytes, " bytes is asked for");
  return static_cast<int64_t>(bytes);
}

// Gives what make() gives: a tensor for which so many bytes are allocated.
template <typename Make>
Tensor allocated(int64_t bytes, const Make& make) {
  try {
    return make();
  } catch (const std::runtime_error&) {
    refuse_allocation(bytes);
  }
}

// On the device of another tensor, and of its type or of the one that is named.
inline Tensor new_tensor(const Tensor& like, const std::vector<int64_t>& sizes, std::optional<ScalarType> type = std::nullopt) {
  const int64_t bytes = bytes_for(sizes, bytes_of(type.value_or(like.scalar_type())));
  return allocated(bytes, [&] { return torch::stable::new_empty(like, sizes, type); });
}

inline Tensor new_tensor(const Tensor& like, const std::vector<int64_t>& sizes, ScalarType type, MemoryFormat format) {
  return allocated(bytes_for(sizes, bytes_of(type)), [&] {
    return torch::stable::empty(sizes, type, torch::headeronly::Layout::Strided, like.device(), false, format);
  });
}

inline Tensor in_order(const Tensor& tensor) {
  return allocated(bytes_of(tensor), [&] { return torch::stable::contiguous(tensor); });
}

inline Tensor converted(const Tensor& tensor, ScalarType type) {
  return allocated(tensor.numel() * bytes_of(type), [&] { return torch::stable::to(tensor, type); });
}

}  // namespace spnas
