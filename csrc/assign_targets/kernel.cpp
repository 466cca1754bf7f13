#include "assign_targets/kernel.h"

#include "assign_targets/arithmetic.h"

namespace spnas::SPNAS_ISA {
namespace {

using assign_targets::Found;
using assign_targets::kBlock;
using assign_targets::Object;

// The boxes of a block, coordinate by coordinate. Those that the last block lacks meet nothing.
struct Columns {
  float x1[kBlock], y1[kBlock], x2[kBlock], y2[kBlock], area[kBlock];

  Columns(const float* boxes, int64_t count) {
    for (int64_t i = 0; i < kBlock; ++i) {
      const float* box = boxes + i * 4;
      const bool is_there = i < count;
      x1[i] = is_there ? box[0] : 0.0f;
      y1[i] = is_there ? box[1] : 0.0f;
      x2[i] = is_there ? box[2] : 0.0f;
      y2[i] = is_there ? box[3] : 0.0f;
    }
    for (int i = 0; i < kBlock; ++i) area[i] = assign_targets::area_of(x1[i], y1[i], x2[i], y2[i]);
    low_x = low_y = __builtin_huge_valf();
    high_x = high_y = -__builtin_huge_valf();
    for (int64_t i = 0; i < count && i < kBlock; ++i) {  // in this order, what is no number changes nothing
      low_x = assign_targets::smaller(x1[i], low_x);
      low_y = assign_targets::smaller(y1[i], low_y);
      high_x = assign_targets::larger(x2[i], high_x);
      high_y = assign_targets::larger(y2[i], high_y);
    }
  }

  // False only if no box of the block meets the object. Neighbours in a grid of anchors are neighbours in a block, so
  // that most objects are far from most blocks.
  bool may_meet(const Object& object) const {
    return !(object.x1 >= high_x || object.x2 <= low_x || object.y1 >= high_y || object.y2 <= low_y);
  }

  void intersect(const Object& object, float* shared) const {
    for (int i = 0; i < kBlock; ++i) {
      shared[i] = assign_targets::intersection(x1[i], y1[i], x2[i], y2[i], object.x1, object.y1, object.x2, object.y2);
    }
  }

  void overlap(const Object& object, float* ious) const {
    float shared[kBlock];
    intersect(object, shared);
    for (int i = 0; i < kBlock; ++i) {
      ious[i] = assign_targets::quotient(shared[i], object.area + area[i] - shared[i]);
    }
  }

 private:
  float low_x, low_y, high_x, high_y;
};

}  // namespace

void raise_best(const float* boxes, int64_t count, const Object* objects, int64_t object_count, float* best_of_object) {
  float ious[kBlock];
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const Columns columns(boxes + begin * 4, count - begin);
    for (int64_t g = 0; g < object_count; ++g) {
      if (!columns.may_meet(objects[g])) continue;
      columns.overlap(objects[g], ious);
      // Eight maxima side by side, which the compiler keeps in a vector; one would be a chain.
      float best[8] = {};
      for (int i = 0; i < kBlock; i += 8) {
        for (int lane = 0; lane < 8; ++lane) best[lane] = assign_targets::larger(ious[i + lane], best[lane]);
      }
      for (int lane = 0; lane < 8; ++lane) best_of_object[g] = assign_targets::larger(best_of_object[g], best[lane]);
    }
  }
}

void find(const float* boxes, int64_t count, const Object* objects, int64_t object_count, const Object* regions,
          int64_t region_count, const float* best_of_object, Found* found) {
  const Columns columns(boxes, count);
  float ious[kBlock];
  for (int i = 0; i < kBlock; ++i) {
    found->best[i] = 0;
    found->row[i] = 0;
    found->ignored[i] = 0;
    found->is_best[i] = 0;
  }
  for (int64_t g = 0; g < object_count; ++g) {
    if (!columns.may_meet(objects[g])) continue;
    columns.overlap(objects[g], ious);
    for (int i = 0; i < kBlock; ++i) {
      const bool is_better = ious[i] > found->best[i];
      found->best[i] = is_better ? ious[i] : found->best[i];
      found->row[i] = is_better ? objects[g].row : found->row[i];
    }
    if (best_of_object != nullptr && best_of_object[g] > 0) {
      const float best = best_of_object[g];
      for (int i = 0; i < kBlock; ++i) found->is_best[i] |= ious[i] == best;
    }
  }
  for (int64_t g = 0; g < region_count; ++g) {
    if (!columns.may_meet(regions[g])) continue;
    columns.intersect(regions[g], ious);
    for (int i = 0; i < kBlock; ++i) {
      found->ignored[i] = assign_targets::larger(found->ignored[i], assign_targets::quotient(ious[i], columns.area[i]));
    }
  }
}

}  // namespace spnas::SPNAS_ISA
