// From boxes to groups in the order of their scores: what is sorted by, and where each group begins.
#pragma once

#include <cstdint>
#include <limits>

#include "nms_grouped/arithmetic.h"

namespace spnas::nms_grouped {
namespace {

using Word = unsigned long long;

constexpr int32_t kNone = -1;  // of a table of groups: nothing there yet

// Ascending keys are descending scores; both zeros get one key, a NaN comes last, behind -inf.
__device__ inline uint32_t key_of(float score) {
  const uint32_t bits = __float_as_uint(score + 0.0f), sign = uint32_t(1) << 31;
  return score != score ? ~uint32_t(0) : bits & sign ? bits : ~bits & ~sign;
}

__device__ inline Word key_of(double score) {
  const Word bits = __double_as_longlong(score + 0.0), sign = Word(1) << 63;
  return score != score ? ~Word(0) : bits & sign ? bits : ~bits & ~sign;
}

// A slot is a box in the order of the input.
template <typename Score, typename Key>
__global__ void make_keys(const Score* scores, int64_t total, Key* keys, int32_t* slots) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= total) return;
  keys[i] = key_of(scores[i]);
  slots[i] = int32_t(i);
}

__global__ void make_images(const int32_t* slots, int64_t total, int64_t count, uint32_t* images) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < total) images[i] = uint32_t(slots[i] / count);
}

// Where the groups of all images are numbered: a table of open addressing, of a box of each group.
struct GroupTable {
  int32_t* slots;  // kNone at first
  uint32_t mask;   // its size, a power of two, less one
};

__device__ inline uint32_t hash_of(int64_t group, int64_t image) {
  uint64_t value = uint64_t(group) * 0x9e3779b97f4a7c15u + uint64_t(image) * 0xc2b2ae3d27d4eb4fu;
  value ^= value >> 32;
  value *= 0xd6e8feb86659fd93u;
  return uint32_t(value >> 32);
}

// The same number for the boxes of one group, whichever of them comes first; which number depends on that.
__device__ inline uint32_t number_of(const GroupTable& table, const int64_t* groups, int32_t slot, int64_t count) {
  const int64_t group = groups[slot], image = slot / count;
  for (uint32_t at = hash_of(group, image) & table.mask;; at = (at + 1) & table.mask) {
    const int32_t found = atomicCAS(table.slots + at, kNone, slot);
    if (found == kNone || (groups[found] == group && found / count == image)) return at;
  }
}

// A rank is a box in the order of images and scores. Boxes that take no part get a number behind the table.
template <typename Value, typename Score>
__global__ void number_groups(GroupTable table, const int32_t* slots, const Value* boxes, const Score* scores,
                              const int64_t* groups, int64_t total, int64_t count, bool masks_infinity, uint32_t* numbers,
                              int32_t* ranks) {
  const int64_t rank = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (rank >= total) return;
  const int32_t slot = slots[rank];
  const Value* box = boxes + int64_t(slot) * 4;
  const Score score = scores[slot];
  const bool is_nan = score != score || box[0] != box[0] || box[1] != box[1] || box[2] != box[2] || box[3] != box[3];
  const bool is_padding = masks_infinity && score == -std::numeric_limits<Score>::infinity();
  numbers[rank] = is_nan || is_padding ? table.mask + 1 : number_of(table, groups, slot, count);
  ranks[rank] = int32_t(rank);
}

// A group: places [begin, end) in the order of groups, and where its suppression mask begins if it has one.
struct Segment {
  int64_t begin, end;
  int64_t mask;
};

// Groups of one kind, in any order.
struct Segments {
  Segment* list;
  Word* count;
};

// Long groups share the masks' memory as far as it goes; the others are walked without one.
struct Division {
  Segments few, many;  // boxes in a group
  Word* mask_words;    // given away so far
  int64_t mask_capacity;
};

constexpr int64_t kTile = 64;             // boxes whose mutual suppression fits one word per box
constexpr int64_t kFew = 1024;            // boxes up to which a block needs no mask
constexpr int64_t kMost = kTile << 12;    // boxes of a group with a mask: its words of removed boxes have 32 KiB

__device__ inline void divide(const Division& division, int64_t begin, int64_t end) {
  const int64_t size = end - begin, words = (size + kTile - 1) / kTile;
  if (size > kFew && size <= kMost) {
    const int64_t mask = int64_t(atomicAdd(division.mask_words, Word(size * words)));
    if (mask + size * words <= division.mask_capacity) {
      division.many.list[atomicAdd(division.many.count, Word(1))] = {begin, end, mask};
      return;
    }
  }
  division.few.list[atomicAdd(division.few.count, Word(1))] = {begin, end, 0};
}

// Brings boxes into the order of groups, and lists the groups. Numbers ascend.
template <typename Value>
__global__ void gather(const uint32_t* numbers, const int32_t* ranks, const int32_t* slots, const Value* boxes, int64_t total,
                       uint32_t none, Division division, Box<Value>* placed) {
  const int64_t place = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (place >= total || numbers[place] == none) return;
  const Value* box = boxes + int64_t(slots[ranks[place]]) * 4;
  placed[place] = {box[0], box[1], box[2], box[3]};
  const uint32_t number = numbers[place];
  if (place > 0 && numbers[place - 1] == number) return;
  int64_t low = place, high = total;  // the last place of this number is in [low, high)
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (numbers[middle] == number ? low : high) = middle;
  }
  divide(division, place, high);
}

// Whether a better box is in the way; `low` is a little below the threshold, so that most pairs need no division. Areas so
// small that their products lose digits do.
template <typename Value>
struct Threshold {
  Value exact, low;

  __device__ bool is_passed(const Box<Value>& a, Value area_a, const Box<Value>& b, Value area_b) const {
    const Value shared = intersection(a, b), together = area_a + area_b - shared;
    constexpr Value kTiny = Value(1e-37);
    if (shared <= together * low - kTiny) return false;
    return shared / together > exact;
  }
};

}  // namespace
}  // namespace spnas::nms_grouped
