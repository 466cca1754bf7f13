// Inner loops of the CPU's RoIAlign, once per instruction set. All work on blocks of 16 channels.
//
// A slab is one level's plane for one block: Value[height][width][16]. Planar features are transposed into it piece by
// piece, as RoIs need them, while they are in the cache; channels-last ones are pooled from where they lie. Whoever lets
// results stream past the caches calls finish_streams() after the last of them.
#pragma once

#include <stdint.h>

#include "common/isa.h"

namespace spnas::roi_align_fpn {

constexpr int32_t kBlock = 16;

// Pooling weights along one axis, samples on the same pixel merged: bin b reads pixels index[b * taps ...], but for the last
// ones where their weight is zero: they fill it up.
template <typename Value>
struct Axis {
  const int32_t* index;
  const Value* weight;
  int32_t bins;
  int32_t taps;
};

// One block of channels of one image on one level.
template <typename Value>
struct Plane {
  Value* data;
  int64_t row_stride;  // in elements
  int64_t column_stride;
};

// Where planar or strided features lie.
struct Strides {
  int64_t channel, pixel;
};

struct BFloat16 {
  uint16_t bits;
};
struct Half {
  uint16_t bits;
};

}  // namespace spnas::roi_align_fpn

namespace spnas {

#define SPNAS_DECLARE_TYPES(Stored, Value)                                                                             \
  /* pixels[x][c] = source[c * strides.channel + x * strides.pixel]; channels from `channels` on become zero. */       \
  void read_pixels(const Stored* source, roi_align_fpn::Strides strides, int32_t channels, int64_t count,              \
                   Value* pixels);                                                                                     \
  /* The way back; streams: past the caches where the channels of a pixel fill lines. */                               \
  void write_pixels(const Value* pixels, roi_align_fpn::Strides strides, int32_t channels, int64_t count,              \
                    bool streams, Stored* destination);                                                                \
  /* bins[b * bin_stride + c] to output[c * count + b]; by way of `staging`, room for as much, past the caches. */     \
  void write_bins(const Value* bins, int64_t bin_stride, int32_t channels, int32_t count, Stored* staging,             \
                  Stored* output);                                                                                     \
  /* The way back; missing channels become zero. */                                                                    \
  void read_bins(const Stored* gradient, int32_t channels, int32_t count, Value* bins);

#define SPNAS_DECLARE_VALUES(Value)                                                                                    \
  /* bins[y * x.bins + x][c] = sum of weights times pixels, for so many blocks of channels that lie side by side. */   \
  void pool(roi_align_fpn::Plane<const Value> plane, roi_align_fpn::Axis<Value> y, roi_align_fpn::Axis<Value> x,       \
            int32_t blocks, Value* bins);                                                                              \
  /* Its transpose: plane += weights times bins. */                                                                    \
  void spread(roi_align_fpn::Plane<Value> plane, roi_align_fpn::Axis<Value> y, roi_align_fpn::Axis<Value> x,           \
              const Value* bins);

#define SPNAS_DECLARE(isa)                                   \
  namespace isa {                                            \
  SPNAS_DECLARE_TYPES(float, float)                          \
  SPNAS_DECLARE_TYPES(double, double)                        \
  SPNAS_DECLARE_TYPES(roi_align_fpn::BFloat16, float)        \
  SPNAS_DECLARE_TYPES(roi_align_fpn::Half, float)            \
  SPNAS_DECLARE_VALUES(float)                                \
  SPNAS_DECLARE_VALUES(double)                               \
  }
SPNAS_FOR_EACH_ISA(SPNAS_DECLARE)
#undef SPNAS_DECLARE
#undef SPNAS_DECLARE_VALUES
#undef SPNAS_DECLARE_TYPES

}  // namespace spnas
