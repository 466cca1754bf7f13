#include "roi_align_fpn/kernel.h"

#include <string.h>

#include "common/half.h"
#include "common/stream.h"

namespace spnas::SPNAS_ISA {
namespace {

using roi_align_fpn::Axis;
using roi_align_fpn::BFloat16;
using roi_align_fpn::Half;
using roi_align_fpn::kBlock;
using roi_align_fpn::Plane;
using roi_align_fpn::Strides;

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

// A block of channels in as many registers as it takes.
template <typename Value>
struct Block {
  static constexpr int kLanes = kVectorBytes / sizeof(Value) < kBlock ? kVectorBytes / sizeof(Value) : kBlock;
  static constexpr int kParts = kBlock / kLanes;
  typedef Value Vector __attribute__((vector_size(kLanes * sizeof(Value))));
  typedef Value Unaligned __attribute__((vector_size(kLanes * sizeof(Value)), aligned(sizeof(Value)), may_alias));
  Vector part[kParts];

  static Block zero() {
    Block block;
    for (int p = 0; p < kParts; ++p) block.part[p] = Vector{};
    return block;
  }
  static Block load(const Value* address) {
    Block block;
    for (int p = 0; p < kParts; ++p) block.part[p] = *(const Unaligned*)(address + p * kLanes);
    return block;
  }
  void store(Value* address) const {
    for (int p = 0; p < kParts; ++p) *(Unaligned*)(address + p * kLanes) = part[p];
  }
  void add_product(Value factor, const Block& other) {
    for (int p = 0; p < kParts; ++p) part[p] += factor * other.part[p];
  }
};

inline float widened(BFloat16 value) { return bfloat16_to_float(value.bits); }
inline float widened(Half value) { return half_to_float(value.bits); }
inline float widened(float value) { return value; }
inline double widened(double value) { return value; }

inline void narrow(float value, BFloat16* address) { address->bits = float_to_bfloat16(value); }
inline void narrow(float value, Half* address) { address->bits = float_to_half(value); }
inline void narrow(float value, float* address) { *address = value; }
inline void narrow(double value, double* address) { *address = value; }

// to[j * to_stride + i] = from[i * from_stride + j]
template <typename From, typename To>
inline void transpose_any(const From* from, int64_t from_stride, int64_t rows, int64_t columns, To* to, int64_t to_stride) {
  for (int64_t j = 0; j < columns; ++j) {
    for (int64_t i = 0; i < rows; ++i) narrow(widened(from[i * from_stride + j]), to + j * to_stride + i);
  }
}

#if defined(__AVX2__)
typedef float Eight __attribute__((vector_size(32)));
typedef float EightUnaligned __attribute__((vector_size(32), aligned(4), may_alias));

inline void transpose_eight(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
  Eight a[8], b[8];
  for (int i = 0; i < 8; ++i) a[i] = *(const EightUnaligned*)(from + i * from_stride);
  for (int i = 0; i < 4; ++i) {
    b[2 * i] = __builtin_shufflevector(a[2 * i], a[2 * i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    b[2 * i + 1] = __builtin_shufflevector(a[2 * i], a[2 * i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int i = 0; i < 2; ++i) {
    a[4 * i] = __builtin_shufflevector(b[4 * i], b[4 * i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
    a[4 * i + 1] = __builtin_shufflevector(b[4 * i], b[4 * i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    a[4 * i + 2] = __builtin_shufflevector(b[4 * i + 1], b[4 * i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
    a[4 * i + 3] = __builtin_shufflevector(b[4 * i + 1], b[4 * i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
  }
  for (int i = 0; i < 4; ++i) {
    *(EightUnaligned*)(to + i * to_stride) = __builtin_shufflevector(a[i], a[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    *(EightUnaligned*)(to + (i + 4) * to_stride) = __builtin_shufflevector(a[i], a[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

inline void transpose(const float* from, int64_t from_stride, int64_t rows, int64_t columns, float* to, int64_t to_stride) {
  const int64_t whole_rows = rows / 8 * 8, whole_columns = columns / 8 * 8;
  for (int64_t i = 0; i < whole_rows; i += 8) {
    for (int64_t j = 0; j < whole_columns; j += 8) {
      transpose_eight(from + i * from_stride + j, from_stride, to + j * to_stride + i, to_stride);
    }
  }
  transpose_any(from + whole_columns, from_stride, whole_rows, columns - whole_columns, to + whole_columns * to_stride, to_stride);
  transpose_any(from + whole_rows * from_stride, from_stride, rows - whole_rows, columns, to + whole_rows, to_stride);
}
#endif

template <typename From, typename To>
inline void transpose(const From* from, int64_t from_stride, int64_t rows, int64_t columns, To* to, int64_t to_stride) {
  transpose_any(from, from_stride, rows, columns, to, to_stride);
}

template <typename Stored, typename Value>
void read_any(const Stored* source, Strides strides, int32_t channels, int64_t count, Value* pixels) {
  if (strides.pixel == 1) {
    transpose(source, strides.channel, channels, count, pixels, kBlock);
  } else if (strides.channel == 1 && channels == kBlock) {
    for (int64_t x = 0; x < count; ++x) {
      for (int32_t c = 0; c < kBlock; ++c) pixels[x * kBlock + c] = widened(source[x * strides.pixel + c]);
    }
  } else {
    for (int64_t x = 0; x < count; ++x) {
      for (int32_t c = 0; c < channels; ++c) {
        pixels[x * kBlock + c] = widened(source[c * strides.channel + x * strides.pixel]);
      }
    }
  }
  for (int64_t x = 0; channels < kBlock && x < count; ++x) {
    for (int32_t c = channels; c < kBlock; ++c) pixels[x * kBlock + c] = 0;
  }
}

template <typename A, typename B>
constexpr bool kSame = false;
template <typename A>
constexpr bool kSame<A, A> = true;

template <typename Stored, typename Value>
void write_any(const Value* pixels, Strides strides, int32_t channels, int64_t count, bool streams, Stored* destination) {
  if (strides.pixel == 1) {
    transpose(pixels, kBlock, count, channels, destination, strides.channel);
    return;
  }
  if (strides.channel == 1 && channels == kBlock) {
    if constexpr (kSame<Stored, Value>) {
      if (streams && (strides.pixel * sizeof(Value) | (uintptr_t)destination) % kLine == 0) {
        for (int64_t x = 0; x < count; ++x) {
          stream_copy((char*)(destination + x * strides.pixel), (const char*)(pixels + x * kBlock), kBlock * sizeof(Value));
        }
        return;
      }
    }
    for (int64_t x = 0; x < count; ++x) {
      for (int32_t c = 0; c < kBlock; ++c) narrow(pixels[x * kBlock + c], destination + x * strides.pixel + c);
    }
    return;
  }
  for (int64_t x = 0; x < count; ++x) {
    for (int32_t c = 0; c < channels; ++c) {
      narrow(pixels[x * kBlock + c], destination + c * strides.channel + x * strides.pixel);
    }
  }
}

template <typename Stored, typename Value>
void write_bins_any(const Value* bins, int64_t bin_stride, int32_t channels, int32_t count, Stored* staging, Stored* output) {
  transpose(bins, bin_stride, count, channels, staging == nullptr ? output : staging, count);
  if (staging == nullptr) return;
  stream_copy((char*)output, (const char*)staging, channels * (int64_t)count * sizeof(Stored));
}

// Pixels of a bin, without what fills it up: zero times infinity would count.
template <typename Value>
inline int32_t taps_of(const Axis<Value>& axis, int32_t bin) {
  const Value* weight = axis.weight + bin * int64_t(axis.taps);
  int32_t taps = axis.taps;
  while (taps > 0 && weight[taps - 1] == 0) --taps;
  return taps;
}

// The column's weights stay in registers while the rows pass; kTaps = 0 takes any number.
template <typename Value, int kTaps>
void pool_column(Plane<const Value> plane, Axis<Value> y, Axis<Value> x, int32_t column, int32_t taps, int32_t blocks, Value* bins) {
  const int32_t* index = x.index + column * int64_t(x.taps);
  const Value* weight = x.weight + column * int64_t(x.taps);
  int64_t offset[kTaps > 0 ? kTaps : 1];
  if constexpr (kTaps > 0) {
    for (int t = 0; t < kTaps; ++t) offset[t] = index[t] * plane.column_stride;
  }
  for (int32_t row = 0; row < y.bins; ++row) {
    const int32_t row_taps = taps_of(y, row);
    const int32_t* row_index = y.index + row * int64_t(y.taps);
    const Value* row_weight = y.weight + row * int64_t(y.taps);
    for (int32_t block = 0; block < blocks; ++block) {
      Block<Value> sum = Block<Value>::zero();
      for (int32_t u = 0; u < row_taps; ++u) {
        const Value* line = plane.data + row_index[u] * plane.row_stride + block * kBlock;
        Block<Value> part = Block<Value>::zero();
        if constexpr (kTaps > 0) {
          for (int t = 0; t < kTaps; ++t) part.add_product(weight[t], Block<Value>::load(line + offset[t]));
        } else {
          for (int t = 0; t < taps; ++t) {
            part.add_product(weight[t], Block<Value>::load(line + index[t] * plane.column_stride));
          }
        }
        sum.add_product(row_weight[u], part);
      }
      sum.store(bins + ((row * int64_t(x.bins) + column) * blocks + block) * kBlock);
    }
  }
}

template <typename Value>
void pool_any(Plane<const Value> plane, Axis<Value> y, Axis<Value> x, int32_t blocks, Value* bins) {
  for (int32_t column = 0; column < x.bins; ++column) {
    const int32_t taps = taps_of(x, column);
    switch (taps) {
      case 1: pool_column<Value, 1>(plane, y, x, column, taps, blocks, bins); break;
      case 2: pool_column<Value, 2>(plane, y, x, column, taps, blocks, bins); break;
      case 3: pool_column<Value, 3>(plane, y, x, column, taps, blocks, bins); break;
      case 4: pool_column<Value, 4>(plane, y, x, column, taps, blocks, bins); break;
      default: pool_column<Value, 0>(plane, y, x, column, taps, blocks, bins);
    }
  }
}

template <typename Value>
void spread_any(Plane<Value> plane, Axis<Value> y, Axis<Value> x, const Value* bins) {
  for (int32_t row = 0; row < y.bins; ++row) {
    const int32_t* row_index = y.index + row * int64_t(y.taps);
    const Value* row_weight = y.weight + row * int64_t(y.taps);
    for (int32_t u = 0, row_taps = taps_of(y, row); u < row_taps; ++u) {
      Value* line = plane.data + row_index[u] * plane.row_stride;
      for (int32_t column = 0; column < x.bins; ++column) {
        const int32_t* index = x.index + column * int64_t(x.taps);
        const Value* weight = x.weight + column * int64_t(x.taps);
        Block<Value> part = Block<Value>::zero();
        part.add_product(row_weight[u], Block<Value>::load(bins + (row * int64_t(x.bins) + column) * kBlock));
        for (int32_t t = 0, taps = taps_of(x, column); t < taps; ++t) {
          Value* pixel = line + index[t] * plane.column_stride;
          Block<Value> sum = Block<Value>::load(pixel);
          sum.add_product(weight[t], part);
          sum.store(pixel);
        }
      }
    }
  }
}

}  // namespace

#define SPNAS_DEFINE_TYPES(Stored, Value)                                                                                \
  void read_pixels(const Stored* source, Strides strides, int32_t channels, int64_t count, Value* pixels) {              \
    read_any(source, strides, channels, count, pixels);                                                                  \
  }                                                                                                                      \
  void write_pixels(const Value* pixels, Strides strides, int32_t channels, int64_t count, bool streams,                 \
                    Stored* destination) {                                                                               \
    write_any(pixels, strides, channels, count, streams, destination);                                                   \
  }                                                                                                                      \
  void write_bins(const Value* bins, int64_t bin_stride, int32_t channels, int32_t count, Stored* staging,               \
                  Stored* output) {                                                                                      \
    write_bins_any(bins, bin_stride, channels, count, staging, output);                                                  \
  }                                                                                                                      \
  void read_bins(const Stored* gradient, int32_t channels, int32_t count, Value* bins) {                                 \
    read_any(gradient, Strides{count, 1}, channels, count, bins);                                                        \
  }

#define SPNAS_DEFINE_VALUES(Value)                                                                \
  void pool(Plane<const Value> plane, Axis<Value> y, Axis<Value> x, int32_t blocks, Value* bins) { \
    pool_any(plane, y, x, blocks, bins);                                                          \
  }                                                                                               \
  void spread(Plane<Value> plane, Axis<Value> y, Axis<Value> x, const Value* bins) {              \
    spread_any(plane, y, x, bins);                                                                \
  }

SPNAS_DEFINE_TYPES(float, float)
SPNAS_DEFINE_TYPES(double, double)
SPNAS_DEFINE_TYPES(BFloat16, float)
SPNAS_DEFINE_TYPES(Half, float)
SPNAS_DEFINE_VALUES(float)
SPNAS_DEFINE_VALUES(double)

}  // namespace spnas::SPNAS_ISA
