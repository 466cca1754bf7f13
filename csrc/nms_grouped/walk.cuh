// A thread block goes through the boxes of a group, best first.
#pragma once

#include "nms_grouped/keys.cuh"

namespace spnas::nms_grouped {
namespace {

constexpr int kThreads = 256;
constexpr int kWords = kThreads / kTile;  // of as many boxes as threads
constexpr int kWalkThreads = 512;

// Rows of 64 boxes: the best that is not gone is kept and takes with it what it suppresses; at most `room` are kept.
__device__ inline Word choose(Word gone, const Word* rows, int64_t row_stride, int64_t room) {
  Word kept = 0;
  for (Word left = ~gone; left != 0 && room > 0; --room) {
    const int best = __ffsll(left) - 1;
    kept |= Word(1) << best;
    gone |= rows[best * row_stride] | Word(1) << best;
    left = ~gone & ~((Word(2) << best) - 1);
  }
  return kept;
}

// Groups without a mask: as many boxes as threads are decided on at a time, then those kept are held against all behind.
template <typename Value>
__global__ void __launch_bounds__(kThreads) walk_few(Segments segments, const Box<Value>* boxes, const int32_t* ranks,
                                                     Threshold<Value> threshold, int64_t max_keep, uint8_t* removed,
                                                     uint8_t* kept_ranks) {
  __shared__ Box<Value> tile[kThreads];
  __shared__ Value areas[kThreads];
  __shared__ Word mask[kThreads][kWords];
  __shared__ unsigned alive[kThreads / 32];
  __shared__ Word chosen[kWords];
  __shared__ int16_t kept_at[kThreads];
  const int64_t groups = int64_t(*segments.count);
  for (int64_t s = blockIdx.x; s < groups; s += gridDim.x) {
    const int64_t end = segments.list[s].end;
    int64_t total = 0;  // the same in all threads
    for (int64_t begin = segments.list[s].begin; begin < end && total < max_keep; begin += kThreads) {
      const int64_t place = begin + threadIdx.x;
      const bool is_alive = place < end && !removed[place];
      if (is_alive) {
        tile[threadIdx.x] = boxes[place];
        areas[threadIdx.x] = area_of(boxes[place]);
      }
      const unsigned ballot = __ballot_sync(0xffffffffu, is_alive);
      if (threadIdx.x % 32 == 0) alive[threadIdx.x / 32] = ballot;
      __syncthreads();
      for (int word = 0; word < kWords && is_alive; ++word) {
        const Word others = Word(alive[2 * word + 1]) << 32 | alive[2 * word];
        const int before = int(threadIdx.x) - word * int(kTile);  // columns up to this one are better boxes
        Word left = before >= int(kTile) - 1 ? 0 : before < 0 ? others : others & ~((Word(2) << before) - 1);
        Word suppressed = 0;
        for (; left != 0; left &= left - 1) {
          const int column = __ffsll(left) - 1, other = word * int(kTile) + column;
          if (threshold.is_passed(tile[threadIdx.x], areas[threadIdx.x], tile[other], areas[other])) suppressed |= Word(1) << column;
        }
        mask[threadIdx.x][word] = suppressed;
      }
      __syncthreads();
      if (threadIdx.x == 0) {
        Word gone[kWords];
        for (int word = 0; word < kWords; ++word) gone[word] = ~(Word(alive[2 * word + 1]) << 32 | alive[2 * word]);
        int64_t room = max_keep - total;
        for (int word = 0; word < kWords; ++word) {
          const Word kept = choose(gone[word], &mask[word * kTile][word], kWords, room);
          room -= __popcll(kept);
          for (Word left = kept; left != 0; left &= left - 1) {
            const Word* row = mask[word * kTile + __ffsll(left) - 1];
            for (int behind = word + 1; behind < kWords; ++behind) gone[behind] |= row[behind];
          }
          chosen[word] = kept;
        }
      }
      __syncthreads();
      const Word mine = chosen[threadIdx.x / kTile];
      int before = 0, kept = 0;
      for (int word = 0; word < kWords; ++word) {
        if (word < int(threadIdx.x / kTile)) before += __popcll(chosen[word]);
        kept += __popcll(chosen[word]);
      }
      if (mine >> threadIdx.x % kTile & 1) {
        kept_at[before + __popcll(mine & ((Word(1) << threadIdx.x % kTile) - 1))] = int16_t(threadIdx.x);
        kept_ranks[ranks[place]] = 1;
      }
      __syncthreads();
      for (int64_t other = begin + kThreads + threadIdx.x; other < end; other += kThreads) {
        if (removed[other]) continue;
        const Box<Value> box = boxes[other];
        const Value area = area_of(box);
        for (int i = 0; i < kept; ++i) {
          if (!threshold.is_passed(tile[kept_at[i]], areas[kept_at[i]], box, area)) continue;
          removed[other] = 1;
          break;
        }
      }
      total += kept;
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

// Groups with a mask, a tile at a time: warps take the rows that were kept and strike out what these suppress.
__global__ void __launch_bounds__(kWalkThreads) walk_many(Segments segments, const Word* masks, const int32_t* ranks,
                                                          int64_t max_keep, uint8_t* kept_ranks) {
  extern __shared__ Word removed[];  // a word per tile
  __shared__ Word diagonal[kTile];
  __shared__ Word chosen;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t groups = int64_t(*segments.count);
  for (int64_t s = blockIdx.x; s < groups; s += gridDim.x) {
    const Segment segment = segments.list[s];
    const int64_t count = segment.end - segment.begin, words = (count + kTile - 1) / kTile;
    const Word* mask = masks + segment.mask;
    for (int64_t word = threadIdx.x; word < words; word += kWalkThreads) removed[word] = 0;
    __syncthreads();
    if (threadIdx.x == 0 && count % kTile != 0) removed[words - 1] = ~Word(0) << count % kTile;
    int64_t total = 0;  // the same in all threads
    for (int64_t tile = 0; tile < words && total < max_keep; ++tile) {
      const int64_t begin = tile * kTile;
      if (threadIdx.x < kTile) diagonal[threadIdx.x] = begin + threadIdx.x < count ? mask[(begin + threadIdx.x) * words + tile] : 0;
      __syncthreads();
      if (threadIdx.x == 0) chosen = choose(removed[tile], diagonal, 1, max_keep - total);
      __syncthreads();
      const Word kept = chosen;
      if (threadIdx.x < kTile && (kept >> threadIdx.x & 1)) kept_ranks[ranks[segment.begin + begin + threadIdx.x]] = 1;
      int number = 0;
      for (Word left = kept; left != 0; left &= left - 1, ++number) {
        if (number % (kWalkThreads / 32) != warp) continue;
        const Word* row = mask + (begin + __ffsll(left) - 1) * words;
#pragma unroll 4
        for (int64_t word = tile + 1 + lane; word < words; word += 32) {
          const Word suppressed = row[word];
          if (suppressed != 0) atomicOr(removed + word, suppressed);
        }
      }
      total += __popcll(kept);
      __syncthreads();
    }
  }
}

// One block per image lists what was kept, in the order of ranks, and fills up with -1.
__global__ void __launch_bounds__(kWalkThreads) list_kept(const uint8_t* kept_ranks, const int32_t* slots, int64_t count,
                                                          int64_t max_keep, int64_t* keep, int64_t* counts) {
  __shared__ int in_warp[kWalkThreads / 32];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t image = blockIdx.x;
  kept_ranks += image * count;
  slots += image * count;
  keep += image * max_keep;
  int64_t total = 0;
  for (int64_t begin = 0; begin < count && total < max_keep; begin += kWalkThreads) {
    const int64_t rank = begin + threadIdx.x;
    const bool is_kept = rank < count && kept_ranks[rank];
    const unsigned ballot = __ballot_sync(0xffffffffu, is_kept);
    if (lane == 0) in_warp[warp] = __popc(ballot);
    __syncthreads();
    int before = __popc(ballot & ((1u << lane) - 1)), found = 0;
    for (int w = 0; w < kWalkThreads / 32; ++w) {
      if (w < warp) before += in_warp[w];
      found += in_warp[w];
    }
    if (is_kept && total + before < max_keep) keep[total + before] = slots[rank] % count;
    total += found;
    __syncthreads();
  }
  if (total > max_keep) total = max_keep;
  for (int64_t i = total + threadIdx.x; i < max_keep; i += kWalkThreads) keep[i] = -1;
  if (threadIdx.x == 0) counts[image] = total;
}

}  // namespace
}  // namespace spnas::nms_grouped
