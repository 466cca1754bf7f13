// CUDA's vector types, as aligned as on the device, so that UBSan sees a misaligned vector access.
#pragma once

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

#define SPNAS_VECTORS(Name, Scalar, Alignment2, Alignment4)                                        \
  struct Name##1 {                                                                                 \
    Scalar x;                                                                                      \
  };                                                                                               \
  struct alignas(Alignment2) Name##2 {                                                             \
    Scalar x, y;                                                                                   \
  };                                                                                               \
  struct Name##3 {                                                                                 \
    Scalar x, y, z;                                                                                \
  };                                                                                               \
  struct alignas(Alignment4) Name##4 {                                                             \
    Scalar x, y, z, w;                                                                             \
  };                                                                                               \
  constexpr Name##1 make_##Name##1(Scalar x) { return {x}; }                                       \
  constexpr Name##2 make_##Name##2(Scalar x, Scalar y) { return {x, y}; }                          \
  constexpr Name##3 make_##Name##3(Scalar x, Scalar y, Scalar z) { return {x, y, z}; }             \
  constexpr Name##4 make_##Name##4(Scalar x, Scalar y, Scalar z, Scalar w) { return {x, y, z, w}; }

SPNAS_VECTORS(char, signed char, 2, 4)
SPNAS_VECTORS(uchar, unsigned char, 2, 4)
SPNAS_VECTORS(short, short, 4, 8)
SPNAS_VECTORS(ushort, unsigned short, 4, 8)
SPNAS_VECTORS(int, int, 8, 16)
SPNAS_VECTORS(uint, unsigned, 8, 16)
SPNAS_VECTORS(long, long, 16, 16)
SPNAS_VECTORS(ulong, unsigned long, 16, 16)
SPNAS_VECTORS(longlong, long long, 16, 16)
SPNAS_VECTORS(ulonglong, unsigned long long, 16, 16)
SPNAS_VECTORS(float, float, 8, 16)
SPNAS_VECTORS(double, double, 16, 16)

#undef SPNAS_VECTORS
