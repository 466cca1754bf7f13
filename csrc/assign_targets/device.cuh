// What a CUDA device does: a thread per box, once for each object's best box and once for the verdict.
#pragma once

#include <cstdint>

#include "assign_targets/arithmetic.h"

namespace spnas::assign_targets {
namespace {

constexpr int kThreads = 256;

struct Arguments {
  const float* boxes;
  const float* objects;
  const int64_t* labels;
  Shape shape;
};

struct Corners {
  float x1, y1, x2, y2, area;
};

// A view may begin at any float of its memory; then the four are loaded one by one. All threads go the same way, since boxes
// are four floats apart.
__device__ Corners load(const float* box) {
  float4 corners;
  if (reinterpret_cast<uintptr_t>(box) % sizeof(float4) == 0) {
    corners = *reinterpret_cast<const float4*>(box);
  } else {
    corners = make_float4(box[0], box[1], box[2], box[3]);
  }
  return {corners.x, corners.y, corners.z, corners.w, area_of(corners.x, corners.y, corners.z, corners.w)};
}

__device__ float overlap(const Corners& box, const Corners& other) {
  return intersection(box.x1, box.y1, box.x2, box.y2, other.x1, other.y1, other.x2, other.y2);
}

__device__ bool is_number(const Corners& box) {
  return box.x1 == box.x1 && box.y1 == box.y1 && box.x2 == box.x2 && box.y2 == box.y2;
}

// One thread per box of an image. IoUs are not negative, so their bits are ordered as they are, and a maximum does not
// depend on the order in which it is taken.
__global__ void __launch_bounds__(kThreads) raise_best(Arguments arguments, int* best_of_object) {
  const Shape& shape = arguments.shape;
  const int64_t image = blockIdx.y, i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  const bool is_there = i < shape.boxes;
  const Corners box = load(arguments.boxes + image * shape.box_stride + (is_there ? i : 0) * 4);
  for (int64_t g = 0; g < shape.objects; ++g) {
    if (arguments.labels[image * shape.objects + g] <= 0) continue;  // the same for all threads
    const Corners object = load(arguments.objects + (image * shape.objects + g) * 4);
    const float shared = overlap(box, object);
    int best = is_there ? __float_as_int(quotient(shared, object.area + box.area - shared)) : 0;
    for (int step = 16; step > 0; step /= 2) best = max(best, __shfl_xor_sync(0xffffffffu, best, step));
    if (threadIdx.x % 32 == 0 && best > 0) atomicMax(best_of_object + image * shape.objects + g, best);
  }
}

__global__ void __launch_bounds__(kThreads) assign(Arguments arguments, const int* best_of_object, Thresholds thresholds,
                                                   int64_t* rows) {
  const Shape& shape = arguments.shape;
  const int64_t image = blockIdx.y, i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= shape.boxes) return;
  const Corners box = load(arguments.boxes + image * shape.box_stride + i * 4);
  float best = 0, ignored = 0;
  int32_t row = 0;
  bool is_best = false;
  for (int64_t g = 0; g < shape.objects; ++g) {
    const int64_t label = arguments.labels[image * shape.objects + g];
    if (label == 0) continue;
    const Corners object = load(arguments.objects + (image * shape.objects + g) * 4);
    if (!is_number(object)) continue;
    const float shared = overlap(box, object);
    if (label < 0) {
      ignored = larger(ignored, quotient(shared, box.area));
      continue;
    }
    const float iou = quotient(shared, object.area + box.area - shared);
    if (iou > best) {
      best = iou;
      row = int32_t(g);
    }
    if (thresholds.keeps_best && iou > 0) {
      is_best |= __float_as_int(iou) == best_of_object[image * shape.objects + g];
    }
  }
  rows[image * shape.boxes + i] = verdict(best, row, is_best, ignored, thresholds);
}

}  // namespace
}  // namespace spnas::assign_targets
