// Memory that the host gives to kernels: exactly as large as asked for, and full of garbage.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "emulation/machine.h"

namespace spnas::emulation {

class Scratch {
 public:
  template <typename Value>
  Value* take(int64_t count) {
    const size_t bytes = size_t(count) * sizeof(Value);
    memory_.emplace_back(std::malloc(bytes), &std::free);
    fill_with_garbage(memory_.back().get(), bytes);
    return static_cast<Value*>(memory_.back().get());
  }

  template <typename Value>
  Value* zeros(int64_t count) {
    Value* values = take<Value>(count);
    std::memset(values, 0, size_t(count) * sizeof(Value));
    return values;
  }

 private:
  std::vector<std::unique_ptr<void, decltype(&std::free)>> memory_;
};

inline unsigned blocks_for(int64_t total, int64_t threads) { return static_cast<unsigned>((total + threads - 1) / threads); }

}  // namespace spnas::emulation

#define SPNAS_EMULATED_ENTRY extern "C" __attribute__((visibility("default")))
