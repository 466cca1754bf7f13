// From RoIs to pooling weights, on the CPU: levels, merged samples, and RoIs grouped by image and level.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/parallel.h"
#include "roi_align_fpn/arithmetic.h"
#include "roi_align_fpn/kernel.h"

namespace spnas::roi_align_fpn {

// What does not depend on an RoI.
struct Geometry {
  LevelRule rule;
  std::vector<double> scales;
  std::vector<int64_t> heights, widths;
  int64_t images;
  int32_t pooled_height, pooled_width;
  int32_t sampling_ratio;
  bool aligned;

  int32_t bins() const { return pooled_height * pooled_width; }
};

constexpr int64_t kMostTaps = int64_t(1) << 31;  // of an axis, counted by int32_t
constexpr int64_t kMostOfAll = int64_t(1) << 40;
constexpr double kFarthest = 1 << 24;  // pixels; single precision tells no single pixels apart beyond

template <typename Value>
void check_rois(const Value* rois, int64_t count, int64_t images) {
  for (int64_t k = 0; k < count; ++k) {
    const Value* roi = rois + 5 * k;
    for (int i = 0; i < 5; ++i) {
      require(std::isfinite(roi[i]) && std::abs(roi[i]) <= kFarthest, "rois[", k, ", ", i, "] is ", roi[i],
              ": image indices and coordinates must be finite and at most 2^24");
    }
    require(roi[0] >= 0 && roi[0] < images && roi[0] == std::floor(roi[0]), "rois[", k, "] is of image ", roi[0],
            ": the features hold images 0 to ", images - 1);
    require(roi[3] >= roi[1] && roi[4] >= roi[2], "rois[", k, "] is (", roi[1], ", ", roi[2], ", ", roi[3], ", ", roi[4],
            "): x1 <= x2 and y1 <= y2 must hold");
  }
}

// The weights of one RoI along one axis, and the pixels between which they lie.
template <typename Value>
struct AxisTaps {
  int32_t* index;
  Value* weight;
  int32_t taps = 0;  // 0: no sample is inside
  int32_t low = 0, high = -1;
};

// The first sample of a bin that is not left of the axis: the box may begin a million samples before it. Samples ascend, and so
// does each step of their rounding.
template <typename Value>
int32_t first_inside(const Span<Value>& span, int32_t bin) {
  if (position_of(span, bin, 0) >= Value(-1)) return 0;
  int32_t low = 0, high = span.samples;
  while (low < high) {
    const int32_t middle = low + (high - low) / 2;
    if (position_of(span, bin, middle) >= Value(-1)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

// Merges the samples of every bin by pixel; bins with fewer pixels than others are filled up with weight zero.
template <typename Value>
void merge_samples(const Span<Value>& span, int32_t bins, int32_t size, AxisTaps<Value>& axis, std::vector<int32_t>& index,
                   std::vector<Value>& weight, std::vector<int32_t>& ends) {
  index.clear();
  weight.clear();
  ends.clear();
  const auto add = [&](int32_t pixel, Value share) {
    // Samples ascend, so a pixel that was met before in this bin is one of the last two.
    const size_t first = ends.empty() ? 0 : ends.back();
    for (size_t back = 1; back <= 2 && index.size() >= first + back; ++back) {
      if (index[index.size() - back] == pixel) {
        weight[index.size() - back] += share;
        return;
      }
    }
    index.push_back(pixel);
    weight.push_back(share);
  };
  axis.taps = 0;
  axis.low = size;
  axis.high = -1;
  for (int32_t bin = 0; bin < bins; ++bin) {
    for (int32_t number = first_inside(span, bin); number < span.samples; ++number) {
      const Sample<Value> sample = sample_at(span, bin, number, size);
      if (!sample.is_inside) break;  // nor are those behind it
      add(sample.low, Value(1) - sample.share_of_high);
      if (sample.high != sample.low) add(sample.high, sample.share_of_high);
      axis.low = std::min(axis.low, sample.low);
      axis.high = std::max(axis.high, sample.high);
    }
    axis.taps = std::max<int32_t>(axis.taps, index.size() - (ends.empty() ? 0 : ends.back()));
    ends.push_back(index.size());
  }
  int32_t from = 0;
  for (int32_t bin = 0; bin < bins && axis.taps > 0; ++bin) {
    const int64_t first = int64_t(bin) * axis.taps;
    for (int32_t tap = 0; tap < axis.taps; ++tap, ++from) {
      const bool exists = from < ends[bin];
      axis.index[first + tap] = exists ? index[from] : axis.low;
      axis.weight[first + tap] = exists ? weight[from] / Value(span.samples) : Value(0);
    }
    from = ends[bin];
  }
}

template <typename Value>
struct RoiTaps {
  int32_t level;
  AxisTaps<Value> y, x;

  bool touches() const { return y.taps > 0 && x.taps > 0; }
  Axis<Value> y_axis(const Geometry& geometry) const { return {y.index, y.weight, geometry.pooled_height, y.taps}; }
  Axis<Value> x_axis(const Geometry& geometry) const { return {x.index, x.weight, geometry.pooled_width, x.taps}; }
};

// RoIs sorted by image and level, in their own order within; group g holds order[starts[g]] … order[starts[g + 1] - 1].
template <typename Value>
struct Plan {
  std::vector<RoiTaps<Value>> rois;
  std::vector<int32_t> order;
  std::vector<int64_t> starts;
  std::vector<int32_t> index;
  std::vector<Value> weight;
};

template <typename Value>
Plan<Value> make_plan(const Value* rois, int64_t count, const Geometry& geometry) {
  Plan<Value> plan;
  plan.rois.resize(count);
  const int32_t levels = geometry.rule.levels;

  std::vector<Span<Value>> spans(2 * count);
  std::vector<int64_t> offsets(2 * count + 1, 0);
  for (int64_t k = 0; k < count; ++k) {
    const Value* box = rois + 5 * k + 1;
    const int32_t level = plan.rois[k].level = level_of(box, geometry.rule);
    for (int axis = 0; axis < 2; ++axis) {  // y, x
      const int32_t bins = axis == 0 ? geometry.pooled_height : geometry.pooled_width;
      const int64_t size = axis == 0 ? geometry.heights[level] : geometry.widths[level];
      const Span<Value> span = spans[2 * k + axis] =
          span_of(box[1 - axis], box[3 - axis], Value(geometry.scales[level]), geometry.aligned, bins, geometry.sampling_ratio);
      const int64_t taps = bins * std::min<int64_t>(2 * int64_t(span.samples), size);
      const int64_t end = offsets[2 * k + axis + 1] = offsets[2 * k + axis] + taps;
      require(taps < kMostTaps && end < kMostOfAll, "rois[", k, "] reads up to ", taps, " pixels along one axis in ",
              bins, " bins, and ", end, " with those before it: take fewer bins, samples or RoIs");
    }
  }
  plan.index.resize(offsets.back());
  plan.weight.resize(offsets.back());
  constexpr int64_t kChunk = 64;
  for_each_piece((count + kChunk - 1) / kChunk, [&](int64_t chunk) {
    std::vector<int32_t> index, ends;
    std::vector<Value> weight;
    for (int64_t k = chunk * kChunk; k < std::min(count, (chunk + 1) * kChunk); ++k) {
      RoiTaps<Value>& roi = plan.rois[k];
      roi.y = {plan.index.data() + offsets[2 * k], plan.weight.data() + offsets[2 * k]};
      roi.x = {plan.index.data() + offsets[2 * k + 1], plan.weight.data() + offsets[2 * k + 1]};
      merge_samples(spans[2 * k], geometry.pooled_height, int32_t(geometry.heights[roi.level]), roi.y, index, weight, ends);
      merge_samples(spans[2 * k + 1], geometry.pooled_width, int32_t(geometry.widths[roi.level]), roi.x, index, weight, ends);
    }
  });

  plan.starts.assign(geometry.images * levels + 1, 0);
  const auto group = [&](int64_t k) { return int64_t(rois[5 * k]) * levels + plan.rois[k].level; };
  for (int64_t k = 0; k < count; ++k) ++plan.starts[group(k) + 1];
  for (size_t g = 1; g < plan.starts.size(); ++g) plan.starts[g] += plan.starts[g - 1];
  plan.order.resize(count);
  std::vector<int64_t> next(plan.starts.begin(), plan.starts.end() - 1);
  for (int64_t k = 0; k < count; ++k) plan.order[next[group(k)]++] = int32_t(k);
  // Neighbours one after the other find each other's pixels in the cache.
  for (size_t g = 0; g + 1 < plan.starts.size(); ++g) {
    std::stable_sort(plan.order.begin() + plan.starts[g], plan.order.begin() + plan.starts[g + 1], [&](int32_t a, int32_t b) {
      const RoiTaps<Value>&one = plan.rois[a], &other = plan.rois[b];
      return one.y.low / 8 != other.y.low / 8 ? one.y.low < other.y.low : one.x.low < other.x.low;
    });
  }
  return plan;
}

}  // namespace spnas::roi_align_fpn
