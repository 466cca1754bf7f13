// Marks arithmetic that both the CPU and the CUDA file include.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define SPNAS_HD __host__ __device__ __forceinline__
#else
#define SPNAS_HD inline
#endif
