#include <cstring>

#include "common/allocation.h"
#include "common/memory.h"
#include "common/parallel.h"
#include "common/stream.h"
#include "roi_align_fpn/arguments.h"
#include "roi_align_fpn/geometry.h"
#include "roi_align_fpn/kernel.h"

namespace spnas::roi_align_fpn {
namespace {

// A thread's work buffers, for one call.
struct Scratch {
  Buffer slab, runs, bins, staging;
};

// One block of channels of one image on one level, where it lies in memory; pixels are counted row by row.
template <typename Stored>
struct Source {
  Stored* data;
  int64_t height, width;
  Strides strides;
  int32_t channels;

  Stored* at(int64_t pixel) const { return data + pixel * strides.pixel; }
};

template <typename Stored>
Source<Stored> block_of(Stored* data, bool channels_last, int64_t image, int64_t channels, int64_t height, int64_t width,
                        int64_t first_channel) {
  const Strides strides = channels_last ? Strides{1, channels} : Strides{height * width, 1};
  Stored* start = data + image * channels * height * width + first_channel * strides.channel;
  const int32_t count = static_cast<int32_t>(std::min<int64_t>(kBlock, channels - first_channel));
  return {start, height, width, strides, count};
}

// A level's plane as Value[height][width][16], of which only the runs of pixels that RoIs touch are ever made.
template <typename Value>
class Slab {
 public:
  // Many RoIs touch most of a plane, and long runs are read faster (measured); a few need no more than what they touch.
  Slab(Scratch& scratch, int64_t height, int64_t width, int64_t rois)
      : width_(width),
        pixels_(height * width),
        run_bits_(rois < 64 ? 6 : 8),
        values_(scratch.slab.room_for<Value>(pixels_ * kBlock)),
        is_made_(scratch.runs.room_for<bool>(runs())) {
    std::fill_n(is_made_, runs(), false);
  }

  Plane<Value> plane() const { return {values_, width_ * kBlock, kBlock}; }

  // Calls make(first pixel, count, pixels) for each run in a region that was not made before.
  template <typename Make>
  void need(int32_t top, int32_t bottom, int32_t left, int32_t right, const Make& make) {
    for (int64_t row = top; row <= bottom; ++row) {
      for (int64_t run = (row * width_ + left) >> run_bits_; run <= (row * width_ + right) >> run_bits_; ++run) {
        if (is_made_[run]) continue;
        is_made_[run] = true;
        visit(run, make);
      }
    }
  }

  // Calls take(first pixel, count, pixels, is_made) for every run.
  template <typename Take>
  void each_run(const Take& take) {
    for (int64_t run = 0; run < runs(); ++run) {
      visit(run, [&](int64_t first, int64_t count, Value* pixels) { take(first, count, pixels, is_made_[run]); });
    }
  }

 private:
  int64_t runs() const { return (pixels_ + (int64_t(1) << run_bits_) - 1) >> run_bits_; }

  template <typename Visit>
  void visit(int64_t run, const Visit& call) {
    const int64_t first = run << run_bits_, end = std::min((run + 1) << run_bits_, pixels_);
    call(first, end - first, values_ + first * kBlock);
  }

  int64_t width_, pixels_;
  int run_bits_;  // a run's pixels: a power of two
  Value* values_;
  bool* is_made_;
};

struct Piece {
  int64_t image;
  int32_t level;
  int64_t first_channel;
};

// Blocks of one level after the other, the largest level first: the last pieces to be taken are small ones.
std::vector<Piece> pieces_of(const Geometry& geometry, int64_t channels) {
  std::vector<Piece> pieces;
  for (int32_t level = 0; level < geometry.rule.levels; ++level) {
    for (int64_t image = 0; image < geometry.images; ++image) {
      for (int64_t channel = 0; channel < channels; channel += kBlock) pieces.push_back({image, level, channel});
    }
  }
  return pieces;
}

template <typename Stored, typename Value>
void pool_from_slabs(const Tensors& features, const Geometry& geometry, const Plan<Value>& plan,
                     const std::vector<bool>& is_direct, bool streams, Stored* output) {
  const int64_t channels = features[0].size(1), bins = geometry.bins();
  const std::vector<Piece> pieces = pieces_of(geometry, channels);
  for_each_piece_with<Scratch>(pieces.size(), [&](Scratch& scratch, int64_t i) {
    const auto [image, level, first_channel] = pieces[i];
    const int64_t group = image * geometry.rule.levels + level;
    const bool is_whole = first_channel + kBlock <= channels;
    if (plan.starts[group] == plan.starts[group + 1] || (is_direct[level] && is_whole)) return;
    const auto source = block_of(static_cast<const Stored*>(features[level].const_data_ptr()), is_channels_last(features[level]),
                                 image, channels, geometry.heights[level], geometry.widths[level], first_channel);
    Slab<Value> slab(scratch, source.height, source.width, plan.starts[group + 1] - plan.starts[group]);
    Value* pooled = scratch.bins.room_for<Value>(bins * kBlock);
    Stored* staging = streams ? scratch.staging.room_for<Stored>(bins * kBlock) : nullptr;
    const auto read_pixels = SPNAS_SELECT_OVERLOAD(read_pixels, void (*)(const Stored*, Strides, int32_t, int64_t, Value*));
    const auto pool = SPNAS_SELECT_OVERLOAD(pool, void (*)(Plane<const Value>, Axis<Value>, Axis<Value>, int32_t, Value*));
    const auto write_bins = SPNAS_SELECT_OVERLOAD(write_bins, void (*)(const Value*, int64_t, int32_t, int32_t, Stored*, Stored*));
    const Plane<const Value> plane{slab.plane().data, slab.plane().row_stride, slab.plane().column_stride};
    for (int64_t position = plan.starts[group]; position < plan.starts[group + 1]; ++position) {
      const int64_t k = plan.order[position];
      const RoiTaps<Value>& roi = plan.rois[k];
      Stored* target = output + (k * channels + first_channel) * bins;
      if (!roi.touches()) {
        std::memset(static_cast<void*>(target), 0, source.channels * bins * sizeof(Stored));
        continue;
      }
      slab.need(roi.y.low, roi.y.high, roi.x.low, roi.x.high, [&](int64_t first, int64_t count, Value* pixels) {
        read_pixels(source.at(first), source.strides, source.channels, count, pixels);
      });
      pool(plane, roi.y_axis(geometry), roi.x_axis(geometry), 1, pooled);
      write_bins(pooled, kBlock, source.channels, bins, staging, target);
    }
    if (streams) finish_streams();
  });
}

// Channels-last levels whose dtype is the one computed in need no slab: sixteen channels lie side by side already.
template <typename Value>
void pool_directly(const Tensors& features, const Geometry& geometry, const Plan<Value>& plan, const std::vector<bool>& is_direct,
                   bool streams, Value* output) {
  const int64_t channels = features[0].size(1), bins = geometry.bins();
  const int32_t levels = geometry.rule.levels;
  // Many channels of one bin at a time: their pixels lie side by side, while those of few channels, a power of two apart,
  // would crowd into a few sets of the cache.
  constexpr int64_t kChannels = 256, kChunk = 4;
  const int64_t count = plan.order.size(), chunks = (count + kChunk - 1) / kChunk;
  const int64_t whole_channels = channels / kBlock * kBlock;
  for_each_piece_with<Scratch>(chunks * ((whole_channels + kChannels - 1) / kChannels), [&](Scratch& scratch, int64_t piece) {
    const int64_t first = piece % chunks * kChunk, first_channel = piece / chunks * kChannels;
    const int64_t piece_channels = std::min(kChannels, whole_channels - first_channel);
    Value* pooled = scratch.bins.room_for<Value>(bins * piece_channels);
    Value* staging = streams ? scratch.staging.room_for<Value>(bins * kBlock) : nullptr;
    const auto pool = SPNAS_SELECT_OVERLOAD(pool, void (*)(Plane<const Value>, Axis<Value>, Axis<Value>, int32_t, Value*));
    const auto write_bins = SPNAS_SELECT_OVERLOAD(write_bins, void (*)(const Value*, int64_t, int32_t, int32_t, Value*, Value*));
    for (int64_t position = first; position < std::min(count, first + kChunk); ++position) {
      const int64_t k = plan.order[position];
      const RoiTaps<Value>& roi = plan.rois[k];
      if (!is_direct[roi.level]) continue;
      Value* target = output + (k * channels + first_channel) * bins;
      if (!roi.touches()) {
        std::memset(target, 0, piece_channels * bins * sizeof(Value));
        continue;
      }
      const int64_t group = std::upper_bound(plan.starts.begin(), plan.starts.end(), position) - plan.starts.begin() - 1;
      const auto source = block_of(static_cast<const Value*>(features[roi.level].const_data_ptr()), true, group / levels, channels,
                                   geometry.heights[roi.level], geometry.widths[roi.level], first_channel);
      pool({source.data, source.width * source.strides.pixel, source.strides.pixel}, roi.y_axis(geometry), roi.x_axis(geometry),
           static_cast<int32_t>(piece_channels / kBlock), pooled);
      for (int64_t channel = 0; channel < piece_channels; channel += kBlock) {
        write_bins(pooled + channel, piece_channels, kBlock, bins, staging, target + channel * bins);
      }
    }
    if (streams) finish_streams();
  });
}

template <typename Stored, typename Value>
void pool_features(const Tensors& features, const Tensor& rois, const Geometry& geometry, Tensor& output) {
  const Value* boxes = rois.const_data_ptr<Value>();
  check_rois(boxes, rois.size(0), geometry.images);
  const Plan<Value> plan = make_plan(boxes, rois.size(0), geometry);
  std::vector<bool> is_direct;
  for (const Tensor& feature : features) is_direct.push_back(std::is_same_v<Stored, Value> && is_channels_last(feature));
  fault_huge_pages(output);
  Stored* target = static_cast<Stored*>(output.mutable_data_ptr());
  const bool streams = kStreams && bytes_of(output) > kMostCached;
  if constexpr (std::is_same_v<Stored, Value>) pool_directly(features, geometry, plan, is_direct, streams, target);
  pool_from_slabs<Stored, Value>(features, geometry, plan, is_direct, streams, target);
}

// A thread owns one block of one level of one image, so nothing is added by two at once, and always in the same order.
template <typename Stored, typename Value>
void spread_gradient(const Tensor& gradient, const Tensor& rois, const Geometry& geometry, const Integers& channels_last,
                     Tensors& results) {
  const Value* boxes = rois.const_data_ptr<Value>();
  check_rois(boxes, rois.size(0), geometry.images);
  const Plan<Value> plan = make_plan(boxes, rois.size(0), geometry);
  const Stored* incoming = static_cast<const Stored*>(gradient.const_data_ptr());
  const int64_t channels = gradient.size(1), bins = geometry.bins();
  int64_t bytes = 0;
  for (Tensor& result : results) {
    fault_huge_pages(result);
    bytes += bytes_of(result);
  }
  const bool streams = kStreams && bytes > kMostCached;
  const std::vector<Piece> pieces = pieces_of(geometry, channels);
  for_each_piece_with<Scratch>(pieces.size(), [&](Scratch& scratch, int64_t i) {
    const auto [image, level, first_channel] = pieces[i];
    const int64_t group = image * geometry.rule.levels + level;
    const auto target = block_of(static_cast<Stored*>(results[level].mutable_data_ptr()), channels_last[level] != 0, image, channels,
                                 geometry.heights[level], geometry.widths[level], first_channel);
    Slab<Value> slab(scratch, target.height, target.width, plan.starts[group + 1] - plan.starts[group]);
    Value* bin_gradient = scratch.bins.room_for<Value>(bins * kBlock);
    const auto read_bins = SPNAS_SELECT_OVERLOAD(read_bins, void (*)(const Stored*, int32_t, int32_t, Value*));
    const auto spread = SPNAS_SELECT_OVERLOAD(spread, void (*)(Plane<Value>, Axis<Value>, Axis<Value>, const Value*));
    const auto write_pixels = SPNAS_SELECT_OVERLOAD(write_pixels, void (*)(const Value*, Strides, int32_t, int64_t, bool, Stored*));
    for (int64_t position = plan.starts[group]; position < plan.starts[group + 1]; ++position) {
      const int64_t k = plan.order[position];
      const RoiTaps<Value>& roi = plan.rois[k];
      if (!roi.touches()) continue;
      slab.need(roi.y.low, roi.y.high, roi.x.low, roi.x.high, [&](int64_t, int64_t count, Value* pixels) {
        std::memset(pixels, 0, count * kBlock * sizeof(Value));
      });
      read_bins(incoming + (k * channels + first_channel) * bins, target.channels, bins, bin_gradient);
      spread(slab.plane(), roi.y_axis(geometry), roi.x_axis(geometry), bin_gradient);
    }
    slab.each_run([&](int64_t first, int64_t count, Value* pixels, bool is_made) {
      if (is_made) {
        write_pixels(pixels, target.strides, target.channels, count, streams, target.at(first));
      } else if (target.strides.pixel == 1) {
        for (int32_t c = 0; c < target.channels; ++c) {
          std::memset(static_cast<void*>(target.at(first) + c * target.strides.channel), 0, count * sizeof(Stored));
        }
      } else {
        for (int64_t x = 0; x < count; ++x) {
          std::memset(static_cast<void*>(target.at(first + x)), 0, target.channels * sizeof(Stored));
        }
      }
    });
    if (streams) finish_streams();
  });
}

Tensor roi_align_fpn_cpu(Tensors features, Tensor rois, Floats spatial_scales, int64_t pooled_height, int64_t pooled_width,
                         int64_t sampling_ratio, bool aligned, int64_t first_level, int64_t canonical_level,
                         double canonical_size) {
  check_features(features, rois);
  Integers heights, widths;
  for (const Tensor& feature : features) {
    heights.push_back(feature.size(2));
    widths.push_back(feature.size(3));
  }
  const Geometry geometry = make_geometry(features[0].size(0), heights, widths, spatial_scales, pooled_height, pooled_width,
                                          sampling_ratio, aligned, first_level, canonical_level, canonical_size);
  Tensor output = new_tensor(features[0], {rois.size(0), features[0].size(1), pooled_height, pooled_width});
  if (output.numel() == 0) return output;
  switch (features[0].scalar_type()) {
    case ScalarType::Float: pool_features<float, float>(features, rois, geometry, output); break;
    case ScalarType::Double: pool_features<double, double>(features, rois, geometry, output); break;
    case ScalarType::Half: pool_features<Half, float>(features, rois, geometry, output); break;
    case ScalarType::BFloat16: pool_features<BFloat16, float>(features, rois, geometry, output); break;
    default: refuse("features must be float32, float64, float16 or bfloat16 on the CPU, not ", features[0].scalar_type());
  }
  return output;
}

Tensors roi_align_fpn_backward_cpu(Tensor gradient, Tensor rois, int64_t images, Integers heights, Integers widths,
                                   Integers channels_last, bool /*deterministic: always*/, Floats spatial_scales,
                                   int64_t pooled_height, int64_t pooled_width, int64_t sampling_ratio, bool aligned,
                                   int64_t first_level, int64_t canonical_level, double canonical_size) {
  const Geometry geometry = make_geometry(images, heights, widths, spatial_scales, pooled_height, pooled_width, sampling_ratio,
                                          aligned, first_level, canonical_level, canonical_size);
  check_gradient(gradient, rois, pooled_height, pooled_width, heights.size(), widths.size(), channels_last.size());
  Tensors results;
  bool is_empty = true;
  for (size_t level = 0; level < heights.size(); ++level) {
    results.push_back(new_tensor(gradient, {images, gradient.size(1), heights[level], widths[level]}, gradient.scalar_type(),
                                 channels_last[level] ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous));
    is_empty = is_empty && results.back().numel() == 0;
  }
  if (is_empty) return results;
  switch (gradient.scalar_type()) {
    case ScalarType::Float: spread_gradient<float, float>(gradient, rois, geometry, channels_last, results); break;
    case ScalarType::Double: spread_gradient<double, double>(gradient, rois, geometry, channels_last, results); break;
    case ScalarType::Half: spread_gradient<Half, float>(gradient, rois, geometry, channels_last, results); break;
    case ScalarType::BFloat16: spread_gradient<BFloat16, float>(gradient, rois, geometry, channels_last, results); break;
    default: refuse("the gradient must be float32, float64, float16 or bfloat16 on the CPU, not ", gradient.scalar_type());
  }
  return results;
}

}  // namespace
}  // namespace spnas::roi_align_fpn

STABLE_TORCH_LIBRARY_IMPL(spnas, CPU, m) {
  m.impl("roi_align_fpn", TORCH_BOX(&spnas::roi_align_fpn::roi_align_fpn_cpu));
  m.impl("roi_align_fpn_backward", TORCH_BOX(&spnas::roi_align_fpn::roi_align_fpn_backward_cpu));
}
