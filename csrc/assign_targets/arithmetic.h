// Overlap of a box with an object, rounded as torchvision's box_iou rounds it, and what follows for the box.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/portable.h"

namespace spnas::assign_targets {

struct Shape {
  int64_t images, boxes, objects;
  int64_t box_stride;  // values between two images' boxes; 0 where all images share them
};

constexpr int32_t kBackground = -1;
constexpr int32_t kNeither = -2;

struct Thresholds {
  float foreground, background, ignored;
  bool keeps_best;
};

// One rounding of its own, whatever nvcc's --fmad says; on the CPU the build's flags see to it (native_build.py).
SPNAS_HD float product(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

SPNAS_HD float area_of(float x1, float y1, float x2, float y2) { return product(x2 - x1, y2 - y1); }

SPNAS_HD float smaller(float a, float b) { return a < b ? a : b; }
SPNAS_HD float larger(float a, float b) { return a > b ? a : b; }

// Zero for boxes that do not meet, and for sides that are no number.
SPNAS_HD float intersection(float ax1, float ay1, float ax2, float ay2, float bx1, float by1, float bx2, float by2) {
  const float width = smaller(ax2, bx2) - larger(ax1, bx1);
  const float height = smaller(ay2, by2) - larger(ay1, by1);
  return product(width > 0 ? width : 0.0f, height > 0 ? height : 0.0f);
}

// Zero where there is no overlap, or where the quotient is no finite number.
SPNAS_HD float quotient(float shared, float whole) {
  const float value = shared / whole;
  return ((value > 0.0f) & (value < 3.0e38f)) ? value : 0.0f;
}

// The smallest float that is at least the threshold: a float is at or above the one if it is at or above the other.
inline float at_least(double threshold) {
  float rounded = float(threshold);
  if (double(rounded) < threshold) {  // so it is positive, and the float behind it has the bits behind it
    uint32_t bits;
    memcpy(&bits, &rounded, sizeof bits);
    ++bits;
    memcpy(&rounded, &bits, sizeof bits);
  }
  return rounded;
}

// What a box is, from its greatest IoU (with the object of that row), whether it is some object's best, and the largest
// share of it that lies in an ignored region.
SPNAS_HD int32_t verdict(float best, int32_t row, bool is_best, float ignored, const Thresholds& thresholds) {
  if (best >= thresholds.foreground || (thresholds.keeps_best && is_best)) return row;
  if (best < thresholds.background && !(ignored >= thresholds.ignored)) return kBackground;
  return kNeither;
}

}  // namespace spnas::assign_targets
