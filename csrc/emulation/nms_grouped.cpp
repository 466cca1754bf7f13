// As nms_grouped/cuda.cu launches it, but that the host sorts.
#include "emulation/cuda.h"
#include "emulation/scratch.h"

#include <numeric>

#include "nms_grouped/device.cuh"

namespace spnas::nms_grouped {
namespace {

// In place of CUB's radix sort: stable, by the bits from begin_bit on.
template <typename Key>
void sort_pairs(Key* keys, int32_t* values, int64_t count, int begin_bit) {
  std::vector<int64_t> order(count);
  std::iota(order.begin(), order.end(), int64_t(0));
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return keys[a] >> begin_bit < keys[b] >> begin_bit; });
  const std::vector<Key> old_keys(keys, keys + count);
  const std::vector<int32_t> old_values(values, values + count);
  for (int64_t i = 0; i < count; ++i) {
    keys[i] = old_keys[order[i]];
    values[i] = old_values[order[i]];
  }
}

template <typename Value, typename Score>
void suppress(const void* boxes, const void* scores, const int64_t* groups, int64_t images, int64_t count, double threshold,
              int64_t max_keep, bool masks_infinity, int64_t* keep, int64_t* counts) {
  constexpr int kThreads = 256;
  constexpr bool kWide = std::is_same_v<Score, double>;
  const int64_t total = images * count, words = (count + kTile - 1) / kTile;
  const unsigned blocks = emulation::blocks_for(total, kThreads);
  emulation::Scratch scratch;

  Word* keys = scratch.take<Word>(total);
  int32_t* slots = scratch.take<int32_t>(total);
  emulation::launch(make_keys, blocks, kThreads, 0, kWide ? nullptr : static_cast<const float*>(scores),
                    kWide ? static_cast<const double*>(scores) : nullptr, total, keys, slots);
  sort_pairs(keys, slots, total, kWide ? 0 : 29);
  if (images > 1) {
    uint32_t* image_of = scratch.take<uint32_t>(total);
    emulation::launch(make_images, blocks, kThreads, 0, slots, total, count, image_of);
    sort_pairs(image_of, slots, total, 0);
  }

  Box<Value>* ranked_boxes = scratch.take<Box<Value>>(total);
  int64_t* ranked_groups = scratch.take<int64_t>(total);
  bool* takes_part = scratch.take<bool>(total);
  emulation::launch(gather<Value, Score>, blocks, kThreads, 0, slots, static_cast<const Value*>(boxes),
                    static_cast<const Score*>(scores), groups, total, masks_infinity, ranked_boxes, ranked_groups, takes_part);

  Word* mask = scratch.take<Word>(images * count * words);
  const dim3 grid(unsigned(words * (words + 1) / 2), unsigned(images));
  emulation::launch(fill_mask<Value>, grid, kTile, 0, ranked_boxes, ranked_groups, count, words, threshold_as<Value>(threshold),
                    mask);
  emulation::launch(walk, unsigned(images), kWalkThreads, size_t(words) * sizeof(Word), mask, slots, takes_part, count, words,
                    max_keep, keep, counts);
}

}  // namespace

// Ragged: one image, max_keep = count, masks_infinity 0.
SPNAS_EMULATED_ENTRY void emulate_nms_grouped(uint64_t seed, int has_wide_boxes, int has_wide_scores, const void* boxes,
                                              const void* scores, const int64_t* groups, int64_t images, int64_t count,
                                              double threshold, int64_t max_keep, int masks_infinity, int64_t* keep,
                                              int64_t* counts) {
  emulation::seed_schedule(seed);
  const auto run = has_wide_boxes ? (has_wide_scores ? suppress<double, double> : suppress<double, float>)
                                  : (has_wide_scores ? suppress<float, double> : suppress<float, float>);
  run(boxes, scores, groups, images, count, threshold, max_keep, masks_infinity != 0, keep, counts);
}

}  // namespace spnas::nms_grouped
