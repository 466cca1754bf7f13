// Marks arithmetic that both the CPU and the CUDA file include. Always inlined: files compiled for different instruction sets
// include it, and the linker would merge copies of a function that stands alone.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define SPNAS_HD __host__ __device__ __forceinline__
#else
#define SPNAS_HD inline __attribute__((always_inline))
#endif
