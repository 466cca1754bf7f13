// As nms_grouped/cuda.cu launches it, but that the host sorts.
#include "emulation/cuda.h"
#include "emulation/scratch.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "nms_grouped/device.cuh"

namespace spnas::nms_grouped {
namespace {

constexpr int kSimpleThreads = 256;
constexpr unsigned kMostBlocks = 2;  // of those that take group after group

// In place of CUB's radix sort, which is stable, too.
template <typename Key>
void sort_pairs(Key* keys, int32_t* values, int64_t count) {
  std::vector<int64_t> order(count);
  std::iota(order.begin(), order.end(), int64_t(0));
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return keys[a] < keys[b]; });
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
  using Key = std::conditional_t<std::is_same_v<Score, double>, Word, uint32_t>;
  const Value* box_values = static_cast<const Value*>(boxes);
  const Score* score_values = static_cast<const Score*>(scores);
  const int64_t total = images * count, most_words = (count + kTile - 1) / kTile;
  const unsigned blocks = emulation::blocks_for(total, kSimpleThreads);
  const uint32_t table_size = std::bit_ceil(uint32_t(2 * total));
  const bool has_many = count > kFew;
  emulation::Scratch scratch;

  Key* keys = scratch.take<Key>(total);
  int32_t* slots = scratch.take<int32_t>(total);
  emulation::launch(make_keys<Score, Key>, blocks, kSimpleThreads, 0, score_values, total, keys, slots);
  sort_pairs(keys, slots, total);
  if (images > 1) {
    uint32_t* image_of = scratch.take<uint32_t>(total);
    emulation::launch(make_images, blocks, kSimpleThreads, 0, slots, total, count, image_of);
    sort_pairs(image_of, slots, total);
  }

  const GroupTable table{scratch.take<int32_t>(table_size), table_size - 1};
  std::memset(table.slots, 0xff, table_size * sizeof(int32_t));
  uint32_t* numbers = scratch.take<uint32_t>(total);
  int32_t* ranks = scratch.take<int32_t>(total);
  emulation::launch(number_groups<Value, Score>, blocks, kSimpleThreads, 0, table, slots, box_values, score_values, groups, total,
                    count, masks_infinity, numbers, ranks);
  sort_pairs(numbers, ranks, total);

  Word* counters = scratch.zeros<Word>(3);
  uint8_t* removed = scratch.zeros<uint8_t>(total);
  uint8_t* kept = scratch.zeros<uint8_t>(total);
  // A third of what all long groups want, now and then, so that some are walked without a mask.
  const int64_t wanted = has_many ? images * count * most_words : 0, mask_capacity = count % 3 == 0 ? wanted / 3 : wanted;
  const Division division{{scratch.take<Segment>(total), counters},
                          {scratch.take<Segment>(has_many ? total / kFew + 1 : 0), counters + 1},
                          counters + 2,
                          mask_capacity};
  Box<Value>* placed = scratch.take<Box<Value>>(total);
  emulation::launch(gather<Value>, blocks, kSimpleThreads, 0, numbers, ranks, slots, box_values, total, table_size, division, placed);
  const Value exact = threshold_as<Value>(threshold);
  const Threshold<Value> limit{exact, exact * (Value(1) - Value(1e-6))};
  emulation::launch(walk_few<Value>, std::min(kMostBlocks, unsigned(total)), kFewThreads, 0, division.few, placed, ranks, limit,
                    max_keep, removed, kept);
  if (has_many) {
    Word* masks = scratch.take<Word>(mask_capacity);
    emulation::launch(fill_masks<Value>, kMostBlocks, unsigned(kTile), 0, division.many, placed, limit, masks);
    emulation::launch(walk_many, kMostBlocks, kManyThreads, size_t(std::min(most_words, kMost / kTile)) * sizeof(Word),
                      division.many, masks, ranks, max_keep, kept);
  }
  emulation::launch(list_kept, unsigned(images), kListThreads, 0, kept, slots, count, max_keep, keep, counts);
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
