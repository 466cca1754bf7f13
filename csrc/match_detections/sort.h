// A stable radix sort of indices by 64-bit keys, and keys of that kind for scores and image numbers.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <utility>
#include <vector>

namespace spnas::match_detections {

struct Entry {
  uint64_t key;
  int64_t index;
};

// Higher scores get lower keys, equal ones equal keys; infinities are scores, NaN is none.
inline uint64_t key_of_score(double score) {
  constexpr uint64_t kSign = uint64_t{1} << 63;
  const uint64_t bits = std::bit_cast<uint64_t>(score + 0.0);  // -0.0 becomes 0.0: the two are one score
  return (bits & kSign) != 0 ? bits : ~(bits | kSign);
}

inline uint64_t key_of_image(int64_t image) { return static_cast<uint64_t>(image) ^ (uint64_t{1} << 63); }

// Sorts by key; entries of one key keep their order.
inline void sort_stably(std::vector<Entry>& entries) {
  constexpr int kDigits = 8;
  std::array<std::array<int64_t, 256>, kDigits> counts{};
  for (const Entry& entry : entries) {
    for (int digit = 0; digit < kDigits; ++digit) ++counts[digit][(entry.key >> (8 * digit)) & 255];
  }
  const auto total = static_cast<int64_t>(entries.size());
  std::vector<Entry> sorted(entries.size());
  for (int digit = 0; digit < kDigits; ++digit) {
    std::array<int64_t, 256> places;
    int64_t before = 0;
    bool differs = true;
    for (int value = 0; value < 256; ++value) {
      places[value] = before;
      before += counts[digit][value];
      if (counts[digit][value] == total) differs = false;
    }
    if (!differs) continue;
    for (const Entry& entry : entries) sorted[places[(entry.key >> (8 * digit)) & 255]++] = entry;
    std::swap(entries, sorted);
  }
}

}  // namespace spnas::match_detections
