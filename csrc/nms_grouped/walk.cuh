// A thread block goes through the boxes of a group, best first.
#pragma once

#include "nms_grouped/keys.cuh"

namespace spnas::nms_grouped {
namespace {

constexpr int kBoxes = 256;                 // that are decided on at a time
constexpr int kWords = kBoxes / int(kTile);  // of a bit for each of them
constexpr int kFewThreads = kBoxes * kWords;
constexpr int kManyThreads = 512;
constexpr int kListThreads = 512;

// Boxes in the order of their scores, which of them are out of the race, and whom each of them suppresses of those behind it.
struct Race {
  Word gone[kWords];
  Word rows[kBoxes][kWords];
  Word kept[kWords];
};

// One thread: the best that is not gone is kept and takes with it what it suppresses, until `room` are kept.
__device__ inline void decide(Race& race, int64_t room) {
  Word gone[kWords];
  for (int word = 0; word < kWords; ++word) gone[word] = race.gone[word];
#pragma unroll
  for (int word = 0; word < kWords; ++word) {
    Word kept = 0;
    for (Word left = ~gone[word]; left != 0 && room > 0; --room) {
      const int best = __ffsll(left) - 1;
      const Word bit = Word(1) << best;
      const Word* row = race.rows[word * int(kTile) + best];
      kept |= bit;
#pragma unroll
      for (int behind = word; behind < kWords; ++behind) gone[behind] |= row[behind];
      left = ~gone[word] & ~(bit | (bit - 1));
    }
    race.kept[word] = kept;
  }
}

// How many were kept before a box, and in all.
struct Count {
  int before, total;
};

__device__ inline Count count_kept(const Race& race, int box) {
  Count count{};
  for (int word = 0; word < kWords; ++word) {
    const int kept = __popcll(race.kept[word]);
    if (word < box / int(kTile)) count.before += kept;
    if (word == box / int(kTile)) count.before += __popcll(race.kept[word] & ((Word(1) << box % int(kTile)) - 1));
    count.total += kept;
  }
  return count;
}

__device__ inline bool is_kept(const Race& race, int box) { return race.kept[box / int(kTile)] >> box % int(kTile) & 1; }

// Groups without a mask: those kept of the boxes that are decided on are held against all behind them.
template <typename Value>
__global__ void __launch_bounds__(kFewThreads) walk_few(Segments segments, const Box<Value>* boxes, const int32_t* ranks,
                                                        Threshold<Value> threshold, int64_t max_keep, uint8_t* removed,
                                                        uint8_t* kept_ranks) {
  constexpr int kPart = 32;  // of those kept, which one thread holds against a box
  __shared__ Box<Value> tile[kBoxes];
  __shared__ Value areas[kBoxes];
  __shared__ int16_t kept_at[kBoxes];
  __shared__ Race race;
  __shared__ unsigned alive[kBoxes / 32];
  const int box = threadIdx.x % kBoxes, word = threadIdx.x / kBoxes;
  const int64_t groups = int64_t(*segments.count);
  for (int64_t s = blockIdx.x; s < groups; s += gridDim.x) {
    const int64_t end = segments.list[s].end;
    int64_t total = 0;  // the same in all threads
    for (int64_t begin = segments.list[s].begin; begin < end && total < max_keep; begin += kBoxes) {
      const int64_t place = begin + box;
      const bool is_alive = place < end && !removed[place];
      const unsigned ballot = __ballot_sync(0xffffffffu, is_alive);
      if (word == 0) {
        if (box % 32 == 0) alive[box / 32] = ballot;
        if (is_alive) {
          tile[box] = boxes[place];
          areas[box] = area_of(boxes[place]);
        }
      }
      __syncthreads();
      const Word others = Word(alive[2 * word + 1]) << 32 | alive[2 * word];
      const int better = box - word * int(kTile);  // of this word, boxes up to this one are
      Word left = !is_alive || better >= int(kTile) - 1 ? 0 : better < 0 ? others : others & ~((Word(2) << better) - 1);
      Word suppressed = 0;
      for (; left != 0; left &= left - 1) {
        const int column = __ffsll(left) - 1, other = word * int(kTile) + column;
        if (threshold.is_passed(tile[box], areas[box], tile[other], areas[other])) suppressed |= Word(1) << column;
      }
      race.rows[box][word] = suppressed;
      if (box == 0) race.gone[word] = ~others;
      __syncthreads();
      if (threadIdx.x == 0) decide(race, max_keep - total);
      __syncthreads();
      const Count kept = count_kept(race, box);
      if (word == 0 && is_kept(race, box)) {
        kept_at[kept.before] = int16_t(box);
        kept_ranks[ranks[place]] = 1;
      }
      __syncthreads();
      const int64_t behind = end - begin - kBoxes, parts = (kept.total + kPart - 1) / kPart;
      for (int64_t item = threadIdx.x; item < behind * parts; item += kFewThreads) {
        const int part = int(item / behind);
        const int64_t other = begin + kBoxes + item % behind;
        if (removed[other]) continue;
        const Box<Value> candidate = boxes[other];
        const Value area = area_of(candidate);
        for (int i = part * kPart; i < kept.total && i < (part + 1) * kPart; ++i) {
          if (!threshold.is_passed(tile[kept_at[i]], areas[kept_at[i]], candidate, area)) continue;
          removed[other] = 1;
          break;
        }
      }
      total += kept.total;
      __syncthreads();
    }
  }
}

// Bit b of mask[i][word] of a group says that its box i suppresses box word * 64 + b, which comes behind it. A block takes
// pairs of tiles, of all groups with a mask.
template <typename Value>
__global__ void __launch_bounds__(kTile) fill_masks(Segments segments, const Box<Value>* boxes, Threshold<Value> threshold, Word* masks) {
  __shared__ Box<Value> others[kTile];
  __shared__ Value areas[kTile];
  const int64_t groups = int64_t(*segments.count);
  for (int64_t s = 0; s < groups; ++s) {
    const Segment segment = segments.list[s];
    const int64_t count = segment.end - segment.begin, words = (count + kTile - 1) / kTile;
    const Box<Value>* group = boxes + segment.begin;
    for (int64_t pair = blockIdx.x; pair < words * (words + 1) / 2; pair += gridDim.x) {
      // Pairs are counted on and above the diagonal, row by row from the last one on.
      int64_t rows = int64_t((sqrt(8.0 * double(pair) + 1.0) - 1.0) / 2.0);
      while (rows * (rows + 1) / 2 > pair) --rows;
      while ((rows + 1) * (rows + 2) / 2 <= pair) ++rows;
      const int64_t row = words - 1 - rows, column = row + (pair - rows * (rows + 1) / 2);
      const int64_t other = column * kTile + threadIdx.x, i = row * kTile + threadIdx.x;
      __syncthreads();
      if (other < count) {
        others[threadIdx.x] = group[other];
        areas[threadIdx.x] = area_of(group[other]);
      }
      __syncthreads();
      if (i < count) {
        const Box<Value> box = group[i];
        const Value area = area_of(box);
        const int end = int(count - column * kTile < kTile ? count - column * kTile : kTile);
        Word suppressed = 0;
        for (int b = row == column ? int(threadIdx.x) + 1 : 0; b < end; ++b) {
          if (threshold.is_passed(box, area, others[b], areas[b])) suppressed |= Word(1) << b;
        }
        masks[segment.mask + i * words + column] = suppressed;
      }
    }
  }
}

// Groups with a mask: warps take the rows of those kept and strike out what these suppress.
__global__ void __launch_bounds__(kManyThreads) walk_many(Segments segments, const Word* masks, const int32_t* ranks,
                                                          int64_t max_keep, uint8_t* kept_ranks) {
  extern __shared__ Word removed[];  // a bit per box
  __shared__ Race race;
  __shared__ int16_t kept_at[kBoxes];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t groups = int64_t(*segments.count);
  for (int64_t s = blockIdx.x; s < groups; s += gridDim.x) {
    const Segment segment = segments.list[s];
    const int64_t count = segment.end - segment.begin, words = (count + kTile - 1) / kTile;
    const Word* mask = masks + segment.mask;
    for (int64_t word = threadIdx.x; word < words; word += kManyThreads) {
      removed[word] = word == words - 1 && count % kTile != 0 ? ~Word(0) << count % kTile : 0;
    }
    __syncthreads();
    int64_t total = 0;  // the same in all threads
    for (int64_t first = 0; first < words && total < max_keep; first += kWords) {
      const int64_t begin = first * kTile;
      for (int i = threadIdx.x; i < kBoxes * kWords; i += kManyThreads) {
        const int box = i / kWords, word = i % kWords;
        // Below the diagonal the mask has nothing.
        const bool is_there = begin + box < count && first + word < words && word >= box / int(kTile);
        race.rows[box][word] = is_there ? mask[(begin + box) * words + first + word] : 0;
      }
      if (threadIdx.x < kWords) race.gone[threadIdx.x] = first + threadIdx.x < words ? removed[first + threadIdx.x] : ~Word(0);
      __syncthreads();
      if (threadIdx.x == 0) decide(race, max_keep - total);
      __syncthreads();
      const Count kept = count_kept(race, threadIdx.x % kBoxes);
      if (threadIdx.x < kBoxes && is_kept(race, threadIdx.x)) {
        kept_at[kept.before] = int16_t(threadIdx.x);
        kept_ranks[ranks[segment.begin + begin + threadIdx.x]] = 1;
      }
      __syncthreads();
      for (int i = warp; i < kept.total; i += kManyThreads / 32) {
        const Word* row = mask + (begin + kept_at[i]) * words;
#pragma unroll 4
        for (int64_t word = first + kWords + lane; word < words; word += 32) {
          const Word suppressed = row[word];
          if (suppressed != 0) atomicOr(removed + word, suppressed);
        }
      }
      total += kept.total;
      __syncthreads();
    }
  }
}

// One block per image lists what was kept, in the order of ranks, and fills up with -1.
__global__ void __launch_bounds__(kListThreads) list_kept(const uint8_t* kept_ranks, const int32_t* slots, int64_t count,
                                                          int64_t max_keep, int64_t* keep, int64_t* counts) {
  __shared__ int in_warp[kListThreads / 32];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t image = blockIdx.x;
  kept_ranks += image * count;
  slots += image * count;
  keep += image * max_keep;
  int64_t total = 0;
  for (int64_t begin = 0; begin < count && total < max_keep; begin += kListThreads) {
    const int64_t rank = begin + threadIdx.x;
    const bool is_mine = rank < count && kept_ranks[rank];
    const unsigned ballot = __ballot_sync(0xffffffffu, is_mine);
    if (lane == 0) in_warp[warp] = __popc(ballot);
    __syncthreads();
    int before = __popc(ballot & ((1u << lane) - 1)), found = 0;
    for (int w = 0; w < kListThreads / 32; ++w) {
      if (w < warp) before += in_warp[w];
      found += in_warp[w];
    }
    if (is_mine && total + before < max_keep) keep[total + before] = slots[rank] % count;
    total += found;
    __syncthreads();
  }
  if (total > max_keep) total = max_keep;
  for (int64_t i = total + threadIdx.x; i < max_keep; i += kListThreads) keep[i] = -1;
  if (threadIdx.x == 0) counts[image] = total;
}

}  // namespace
}  // namespace spnas::nms_grouped
