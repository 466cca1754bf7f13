// Overlap of boxes, rounded as torchvision's CPU kernel rounds it. Values are scalars in the CUDA file and vectors of
// kept boxes in the CPU's; no multiplication may be contracted with the subtraction behind it.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/portable.h"

namespace spnas::nms_grouped {

template <typename Value>
SPNAS_HD Value larger(Value a, Value b) {
  return a < b ? b : a;
}

template <typename Value>
SPNAS_HD Value smaller(Value a, Value b) {
  return b < a ? b : a;
}

// One rounding of its own, whatever nvcc's --fmad says; on the CPU the build's flags see to it (native_build.py).
template <typename Value>
SPNAS_HD Value product(Value a, Value b) {
  return a * b;
}
#if defined(__CUDA_ARCH__)
template <>
SPNAS_HD float product(float a, float b) {
  return __fmul_rn(a, b);
}
template <>
SPNAS_HD double product(double a, double b) {
  return __dmul_rn(a, b);
}
#endif

template <typename Value>
struct Box {
  Value x1, y1, x2, y2;
};

template <typename Value>
SPNAS_HD Value area_of(const Box<Value>& box) {
  return product(Value(box.x2 - box.x1), Value(box.y2 - box.y1));
}

// Zero for boxes that do not meet. What is not a number comes from infinite coordinates, and is no overlap.
template <typename Value>
SPNAS_HD Value intersection(const Box<Value>& a, const Box<Value>& b) {
  const Value width = larger(Value{}, Value(smaller(a.x2, b.x2) - larger(a.x1, b.x1)));
  const Value height = larger(Value{}, Value(smaller(a.y2, b.y2) - larger(a.y1, b.y1)));
  return product(width, height);
}

// The greatest Value that is at most the threshold: an IoU of type Value is above the one if it is above the other.
template <typename Value>
SPNAS_HD Value threshold_as(double threshold);
template <>
SPNAS_HD double threshold_as(double threshold) {
  return threshold;
}
template <>
SPNAS_HD float threshold_as(double threshold) {
  float rounded = float(threshold);
  if (double(rounded) > threshold) {  // so it is positive, and the float before it has the bits before it
    uint32_t bits;
    memcpy(&bits, &rounded, sizeof bits);
    --bits;
    memcpy(&rounded, &bits, sizeof bits);
  }
  return rounded;
}

}  // namespace spnas::nms_grouped
