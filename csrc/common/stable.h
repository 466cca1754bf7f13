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

}  // namespace spnas
