#include "nms_grouped/kernel.h"

#include <stdint.h>
#include <string.h>

#include "nms_grouped/arithmetic.h"

#if defined(SPNAS_X86)
#include <immintrin.h>
#endif

namespace spnas::SPNAS_ISA {
namespace {

using nms_grouped::kLanes;
using nms_grouped::kMaxAxis;

#if defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

constexpr int kMaxCopies = 9;   // a box in more cells is compared with every candidate instead
constexpr int kMinGrid = 64;    // candidates from which a grid pays
constexpr float kHuge = __builtin_huge_valf();

template <typename Value>
struct VectorOf {
  typedef Value type __attribute__((vector_size(kVectorBytes)));
};
template <typename Value>
using Vector = typename VectorOf<Value>::type;

// Kept boxes beside each other. Lanes without a box hold one that meets nothing.
template <typename Value>
struct Block {
  Value x1[kLanes], y1[kLanes], x2[kLanes], y2[kLanes], area[kLanes];
  int32_t next;
  int32_t filled;
  char unused[56];
};
static_assert(sizeof(Block<float>) == nms_grouped::kBlockBytes(4) && sizeof(Block<double>) == nms_grouped::kBlockBytes(8));

template <typename Mask>
inline bool any(const Mask& mask) {
#if defined(__AVX2__)
  return _mm256_movemask_epi8((__m256i)mask) != 0;
#elif defined(__SSE2__)
  return _mm_movemask_epi8((__m128i)mask) != 0;
#else
  uint64_t words[2];
  memcpy(words, &mask, sizeof words);
  return (words[0] | words[1]) != 0;
#endif
}

template <typename Value>
struct Thresholds {
  Value exact;
  // An IoU above the exact one needs intersection >= below * union, also after rounding: it lies a little lower. Both
  // sides are monotone, so underflow does no harm. Almost all pairs end here, without a division.
  Value below;
};

template <typename Value>
Thresholds<Value> thresholds_for(double threshold) {
  const Value exact = nms_grouped::threshold_as<Value>(threshold);
  return {exact, exact < Value(1e-6) ? Value(0) : exact * Value(1 - 1e-6)};
}

template <typename Value>
struct Candidate {
  nms_grouped::Box<Vector<Value>> box;
  Vector<Value> area, below, exact;

  Candidate(const Value* corners, Value size, const Thresholds<Value>& thresholds)
      : box{corners[0] - Vector<Value>{}, corners[1] - Vector<Value>{}, corners[2] - Vector<Value>{},
            corners[3] - Vector<Value>{}},
        area(size - Vector<Value>{}),
        below(thresholds.below - Vector<Value>{}),
        exact(thresholds.exact - Vector<Value>{}) {}

  bool is_suppressed_by(const Block<Value>& block) const {
    constexpr int kStep = kVectorBytes / sizeof(Value);
    for (int lane = 0; lane < kLanes; lane += kStep) {
      nms_grouped::Box<Vector<Value>> kept;
      Vector<Value> kept_area;
      memcpy(&kept.x1, block.x1 + lane, kVectorBytes);
      memcpy(&kept.y1, block.y1 + lane, kVectorBytes);
      memcpy(&kept.x2, block.x2 + lane, kVectorBytes);
      memcpy(&kept.y2, block.y2 + lane, kVectorBytes);
      memcpy(&kept_area, block.area + lane, kVectorBytes);
      const Vector<Value> shared = nms_grouped::intersection(kept, box);
      const Vector<Value> joined = kept_area + area - shared;
      if (any(shared >= below * joined) && any(shared / joined > exact)) return true;
    }
    return false;
  }
};

// Which cells a coordinate range touches. Rounded, but never decreasing: ranges with a common point have a common cell.
template <typename Value>
struct Axis {
  Value origin, scale;
  int32_t cells;

  int32_t cell(Value position) const {
    const Value scaled = (position - origin) * scale;
    const Value last = Value(cells - 1);
    return int32_t(scaled < last ? (scaled > 0 ? scaled : Value(0)) : last);
  }
};

template <typename Value>
Axis<Value> make_axis(Value low, Value high, Value mean_length, double cells_wanted) {
  const Value extent = high - low;
  if (!(extent < kHuge) || !(mean_length > Value(1e-6) * extent) || !(extent > Value(1e-20))) return {0, 0, 1};
  double cells = double(extent) / double(mean_length);
  cells = cells < cells_wanted ? cells : cells_wanted;
  const int32_t count = cells < 1 ? 1 : cells > kMaxAxis ? kMaxAxis : int32_t(cells);
  return {low, Value(count) / extent, count};
}

// The kept boxes of one group, in the cells that they touch.
template <typename Value>
class Kept {
 public:
  Kept(const Value* boxes, int64_t count, void* workspace, const Thresholds<Value>& thresholds)
      : thresholds_(thresholds), capacity_(int32_t(nms_grouped::max_blocks(count))), used_(0), outside_(-1) {
    char* start = (char*)(((uintptr_t)workspace + 63) / 64 * 64);
    blocks_ = (Block<Value>*)start;
    heads_ = (int32_t*)(start + capacity_ * sizeof(Block<Value>));
    reserved_ = int32_t(count / kLanes + 2);
    x_ = {0, 0, 1};
    y_ = {0, 0, 1};
    if (count >= kMinGrid) choose_grid(boxes, count);
    for (int32_t i = 0; i < x_.cells * y_.cells; ++i) heads_[i] = -1;
  }

  bool suppresses(const Value* box, Value area) const {
    const Candidate<Value> candidate(box, area, thresholds_);
    if (outside_ >= 0 && chain_suppresses(outside_, candidate)) return true;
    Value left = box[0], top = box[1], right = box[2], bottom = box[3];
    // Above one half, what is shared covers more than half of the width and of the height: the middle is in it. Tiny
    // and infinite areas are left out, where rounding could say otherwise.
    if (thresholds_.exact >= Value(0.5) && area > Value(1e-30) && area < Value(kHuge)) {
      const Value width = right - left, height = bottom - top;
      right = left + width * Value(0.55);
      bottom = top + height * Value(0.55);
      left = left + width * Value(0.45);
      top = top + height * Value(0.45);
    }
    const int32_t x_begin = x_.cell(left), x_end = x_.cell(right), y_begin = y_.cell(top), y_end = y_.cell(bottom);
    for (int32_t y = y_begin; y <= y_end; ++y) {
      for (int32_t x = x_begin; x <= x_end; ++x) {
        const int32_t head = heads_[y * x_.cells + x];
        if (head >= 0 && chain_suppresses(head, candidate)) return true;
      }
    }
    return false;
  }

  void add(const Value* box, Value area) {
    const int32_t x_begin = x_.cell(box[0]), x_end = x_.cell(box[2]);
    const int32_t y_begin = y_.cell(box[1]), y_end = y_.cell(box[3]);
    if (x_begin > x_end || y_begin > y_end) return;  // inside out: its area of overlap with anything is zero
    const int32_t copies = (x_end - x_begin + 1) * (y_end - y_begin + 1);
    if (copies > kMaxCopies || used_ + copies + reserved_ > capacity_) {
      put(outside_, box, area);
      return;
    }
    for (int32_t y = y_begin; y <= y_end; ++y) {
      for (int32_t x = x_begin; x <= x_end; ++x) put(heads_[y * x_.cells + x], box, area);
    }
  }

 private:
  void choose_grid(const Value* boxes, int64_t count) {
    Value low_x = boxes[0], low_y = boxes[1], high_x = boxes[2], high_y = boxes[3], width = 0, height = 0;
    for (int64_t i = 0; i < count; ++i) {
      const Value* box = boxes + i * 4;
      low_x = nms_grouped::smaller(low_x, box[0]);
      low_y = nms_grouped::smaller(low_y, box[1]);
      high_x = nms_grouped::larger(high_x, box[2]);
      high_y = nms_grouped::larger(high_y, box[3]);
      width += box[2] - box[0];
      height += box[3] - box[1];
    }
    // As many cells as fill about two lanes each, and none much smaller than a box.
    double wanted = 1;
    while (wanted < kMaxAxis && wanted * wanted * 4 < double(count)) wanted += 1;
    x_ = make_axis(low_x, high_x, width / Value(count), wanted);
    y_ = make_axis(low_y, high_y, height / Value(count), wanted);
  }

  bool chain_suppresses(int32_t index, const Candidate<Value>& candidate) const {
    for (; index >= 0; index = blocks_[index].next) {
      if (candidate.is_suppressed_by(blocks_[index])) return true;
    }
    return false;
  }

  void put(int32_t& head, const Value* box, Value area) {
    if (head < 0 || blocks_[head].filled == kLanes) {
      Block<Value>& fresh = blocks_[used_];
      for (int lane = 0; lane < kLanes; ++lane) {
        fresh.x1[lane] = fresh.y1[lane] = kHuge;
        fresh.x2[lane] = fresh.y2[lane] = -kHuge;
        fresh.area[lane] = 0;
      }
      fresh.next = head;
      fresh.filled = 0;
      head = used_++;
    }
    Block<Value>& block = blocks_[head];
    const int32_t lane = block.filled++;
    block.x1[lane] = box[0];
    block.y1[lane] = box[1];
    block.x2[lane] = box[2];
    block.y2[lane] = box[3];
    block.area[lane] = area;
  }

  const Thresholds<Value> thresholds_;
  Block<Value>* blocks_;
  int32_t* heads_;
  Axis<Value> x_, y_;
  int32_t capacity_, used_, reserved_, outside_;
};

template <typename Value>
int64_t suppress_group(const Value* boxes, int64_t count, double threshold, int64_t limit, void* workspace, uint8_t* kept) {
  Kept<Value> accepted(boxes, count, workspace, thresholds_for<Value>(threshold));
  int64_t total = 0;
  for (int64_t i = 0; i < count; ++i) {
    const Value* box = boxes + i * 4;
    const Value area = nms_grouped::area_of(nms_grouped::Box<Value>{box[0], box[1], box[2], box[3]});
    const bool stays = total < limit && !accepted.suppresses(box, area);
    kept[i] = stays;
    if (stays) {
      accepted.add(box, area);
      ++total;
    }
  }
  return total;
}

}  // namespace

int64_t suppress_floats(const float* boxes, int64_t count, double threshold, int64_t limit, void* workspace, uint8_t* kept) {
  return suppress_group(boxes, count, threshold, limit, workspace, kept);
}

int64_t suppress_doubles(const double* boxes, int64_t count, double threshold, int64_t limit, void* workspace, uint8_t* kept) {
  return suppress_group(boxes, count, threshold, limit, workspace, kept);
}

}  // namespace spnas::SPNAS_ISA
