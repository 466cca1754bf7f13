// Which level an RoI is pooled from, and where its samples fall. Shared by the CPU and the CUDA file.
//
// He et al., "Mask R-CNN", section 3 (RoIAlign); Lin et al., "Feature Pyramid Networks", eq. 1 (the level rule). Every
// expression is rounded step by step, as torchvision's CPU code does it: a contracted multiply-add would move samples
// across pixel borders.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/portable.h"

namespace spnas::roi_align_fpn {

#if defined(__CUDA_ARCH__)
SPNAS_HD float times(float a, float b) { return __fmul_rn(a, b); }
SPNAS_HD double times(double a, double b) { return __dmul_rn(a, b); }
SPNAS_HD float plus(float a, float b) { return __fadd_rn(a, b); }
SPNAS_HD double plus(double a, double b) { return __dadd_rn(a, b); }
#else
template <typename T>
SPNAS_HD T times(T a, T b) {
  return a * b;
}
template <typename T>
SPNAS_HD T plus(T a, T b) {
  return a + b;
}
#endif

// The pyramid, as the level rule sees it.
struct LevelRule {
  int32_t levels;
  int32_t first_level;      // number of the finest level: 2 where its stride is 4
  int32_t canonical_level;  // where an RoI of the canonical size belongs
  double canonical_size;    // side of a square, in input-image pixels
};

// k = floor(k0 + log2(sqrt(area) / canonical size)), clamped to the levels that exist; what is not a number takes the finest.
template <typename T>
SPNAS_HD int32_t level_of(const T* box, const LevelRule& rule) {
  const T area = times(plus(box[2], -box[0]), plus(box[3], -box[1]));
  const T ratio = T(sqrt(area)) / T(rule.canonical_size);
  const T level = T(floor(plus(plus(T(rule.canonical_level), T(log2(ratio))), T(1e-6))));
  const T index = level - T(rule.first_level);
  if (!(index > T(0))) return 0;
  return index < T(rule.levels - 1) ? int32_t(index) : rule.levels - 1;
}

// One axis of an RoI in the pixels of its level.
template <typename T>
struct Span {
  T start;
  T bin;
  int32_t samples;  // per bin
};

constexpr int32_t kMostSamples = 1 << 20;

template <typename T>
SPNAS_HD Span<T> span_of(T first, T last, T scale, bool aligned, int32_t pooled, int32_t sampling_ratio) {
  const T offset = aligned ? T(0.5) : T(0);
  const T start = plus(times(first, scale), -offset);
  T size = plus(plus(times(last, scale), -offset), -start);
  if (!aligned && !(size > T(1))) size = T(1);
  int32_t samples = sampling_ratio;
  if (samples <= 0) {
    const T wanted = T(ceil(size / T(pooled)));
    samples = wanted > T(0) ? (wanted < T(kMostSamples) ? int32_t(wanted) : kMostSamples) : 0;
  }
  return {start, size / T(pooled), samples};
}

// The two pixels that a sample lies between, and the share of the second one. On a pixel it touches that one alone: what a
// neighbour of weight zero holds, infinity say, counts nothing.
template <typename T>
struct Sample {
  bool is_inside;
  int32_t low, high;
  T share_of_high;
};

template <typename T>
SPNAS_HD T position_of(const Span<T>& span, int32_t bin, int32_t number) {
  const T within = times(plus(T(number), T(0.5)), span.bin) / T(span.samples);
  return plus(plus(span.start, times(T(bin), span.bin)), within);
}

// Samples up to one pixel outside take the border's value, those further out are zero.
template <typename T>
SPNAS_HD Sample<T> sample_at(const Span<T>& span, int32_t bin, int32_t number, int32_t size) {
  T position = position_of(span, bin, number);
  if (!(size > 0 && position >= T(-1) && position <= T(size))) return {false, 0, 0, T(0)};
  if (position <= T(0)) position = T(0);
  const int32_t low = int32_t(position);
  if (low >= size - 1) return {true, size - 1, size - 1, T(0)};
  const T share = position - T(low);
  return {true, low, share > T(0) ? low + 1 : low, share};
}

// Which samples of a bin can touch a pixel: numbers [begin, end), more rather than fewer.
struct SampleRange {
  int32_t begin, end;
};

template <typename T>
SPNAS_HD SampleRange samples_near(const Span<T>& span, int32_t bin, int32_t pixel, int32_t size) {
  constexpr int32_t kFewSamples = 4;  // looking at all of them costs less
  const T spacing = span.bin / T(span.samples);
  if (span.samples <= kFewSamples || !(spacing > T(0))) return {0, span.samples};
  const T first = plus(span.start, times(T(bin), span.bin));
  // Samples up to a pixel outside count for the border.
  const T low = T(pixel == 0 ? -1 : pixel - 1) - first, high = T(pixel == size - 1 ? size : pixel + 1) - first;
  const T slack = T(2) + T(1e-6) * (T(fabs(span.start)) + T(fabs(first)) + T(size)) / spacing;
  const T begin = low / spacing - slack, end = high / spacing + slack, most = T(span.samples);
  return {begin > T(0) ? (begin < most ? int32_t(begin) : span.samples) : 0,
          end < most ? (end > T(0) ? int32_t(end) + 1 : 0) : span.samples};
}

// What one pixel of the axis weighs in a bin, before the average over samples is taken.
template <typename T>
SPNAS_HD T weight_of(const Span<T>& span, int32_t bin, int32_t pixel, int32_t size) {
  T weight = T(0);
  const SampleRange near = samples_near(span, bin, pixel, size);
  for (int32_t number = near.begin; number < near.end; ++number) {
    const Sample<T> sample = sample_at(span, bin, number, size);
    if (sample.is_inside && sample.low == pixel) weight += T(1) - sample.share_of_high;
    if (sample.is_inside && sample.high == pixel) weight += sample.share_of_high;
  }
  return weight;
}

}  // namespace spnas::roi_align_fpn
