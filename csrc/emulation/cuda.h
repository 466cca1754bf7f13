// What nvcc includes in front of every .cu file: its keywords and its functions, for a C++ compiler.
//
// Only device.cuh files are meant to see this, behind it. SPNAS_EMULATED is defined then, __CUDA_ARCH__ and __CUDACC__ are not.
#pragma once

#if !defined(SPNAS_EMULATED)
#error "emulation/cuda.h is for emulated kernels: define SPNAS_EMULATED"
#endif

#include "emulation/half.h"
#include "emulation/intrinsics.h"
#include "emulation/machine.h"
#include "emulation/types.h"
#include "emulation/warp.h"

#define __global__ __attribute__((unused))
#define __device__ __attribute__((unused))
#define __host__
#define __forceinline__ inline
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)
#define __grid_constant__
#define __constant__ static

// One block runs at a time, so its shared memory can be static. Nothing else in an operator's file is, so the build can move
// all that is into a section of its own (gcc drops the attribute for it in templates), where the machine finds it.
#define __shared__ static

// `extern __shared__ Type name[];` can't be said in C++; the build replaces it by this.
#define SPNAS_DYNAMIC_SHARED(Type, name) \
  Type* const name = static_cast<Type*>(::spnas::emulation::dynamic_shared_memory(alignof(Type)))
