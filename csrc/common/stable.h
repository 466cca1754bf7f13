// What every operator file needs of torch's stable ABI, and errors without source paths in them.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <sstream>
#include <stdexcept>
#include <string>

namespace spnas {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Throws std::runtime_error (RuntimeError in Python) with the parts joined.
template <typename... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw std::runtime_error(text.str());
}

template <typename... Parts>
void require(bool holds, const Parts&... parts) {
  if (!holds) refuse(parts...);
}

inline std::string name_of(const torch::stable::Device& device) {
  const std::string kind = device.is_cpu() ? "cpu" : device.is_cuda() ? "cuda" : "another kind";
  return device.has_index() ? kind + ":" + std::to_string(device.index()) : kind;
}

// Dispatch looks at all tensors together: beside CUDA tensors, one on the CPU comes to the CUDA kernel.
template <typename Number>
void require_device(const Tensor& tensor, const char* name, const Number& number, const Tensor& first, const char* first_name) {
  const auto device = tensor.device(), wanted = first.device();
  if (device == wanted) return;
  refuse(name, number, " must be on the device of ", first_name, ", ", name_of(wanted), ", not on ", name_of(device));
}
inline void require_device(const Tensor& tensor, const char* name, const Tensor& first, const char* first_name) {
  require_device(tensor, name, "", first, first_name);
}

}  // namespace spnas
