#include "common/isa.h"

#include <cstdlib>
#include <cstring>

namespace spnas {
namespace {

Isa detect() {
#if defined(SPNAS_X86)
  __builtin_cpu_init();
  Isa best = Isa::baseline;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) best = Isa::avx2;
  if (best == Isa::avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    best = Isa::avx512;
  }
  const char* wanted = std::getenv("SPNAS_KERNELS_ISA");
  if (wanted != nullptr) {
    Isa lower = best;
    if (std::strcmp(wanted, "baseline") == 0) lower = Isa::baseline;
    if (std::strcmp(wanted, "avx2") == 0) lower = Isa::avx2;
    return lower < best ? lower : best;
  }
  return best;
#else
  return Isa::baseline;
#endif
}

}  // namespace

Isa isa() {
  static const Isa chosen = detect();
  return chosen;
}

}  // namespace spnas
