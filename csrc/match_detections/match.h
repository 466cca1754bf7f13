// Greedy matching of detections to truths over a data set; no Python in here.
//
// Overlaps are computed in float64 in the reference's order of operations, so both come to the same bits.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

#include "match_detections/sort.h"

namespace spnas::match_detections {

enum class Policy { best_unmatched, best_then_flag };

// Boxes are rows of x1, y1, x2, y2; flags are 0 or not 0.
struct Problem {
  const double* detections;
  const double* scores;
  const int64_t* detection_images;
  int64_t detection_count;
  const double* truths;
  const int64_t* truth_images;
  const uint8_t* ignored;
  const uint8_t* regions;  // null: none is one
  int64_t truth_count;
  double iou_threshold;
  bool inclusive;
  double pixel_offset;
  Policy policy;
};

constexpr int8_t kTruePositive = 1, kFalsePositive = 0, kNeither = -1;

// Written in full: one entry per detection.
struct Result {
  int64_t* truth;
  int8_t* outcome;
  int64_t* order;
};

// The truths by image, within one by index; one array per column for the sake of the vector units.
struct Truths {
  std::vector<int64_t> index;
  std::vector<double> x1, y1, x2, y2, area;
  std::vector<uint64_t> region;         // all bits or none
  std::vector<uint8_t> ignored, taken;  // no two images share a truth, so threads write to different bytes
};

// The places of one image's entries among the sorted detections and truths.
struct Image {
  int64_t first_detection, end_detection, first_truth, end_truth;
};

// Overlaps of a detection with an image's truths: IoU, or intersection over the detection's area for regions.
// Boxes without area give 0 / 0, NaN, which compares as no overlap.
inline void overlaps_of(const Problem& problem, const Truths& truths, const Image& image, int64_t detection,
                        double* __restrict overlaps) {
  const double* box = problem.detections + 4 * detection;
  const double x1 = box[0], y1 = box[1], x2 = box[2], y2 = box[3], offset = problem.pixel_offset;
  const double area = (x2 - x1 + offset) * (y2 - y1 + offset);
  const auto area_bits = std::bit_cast<uint64_t>(area);
  const int64_t first = image.first_truth, count = image.end_truth - first;
  const double *tx1 = truths.x1.data() + first, *ty1 = truths.y1.data() + first, *tx2 = truths.x2.data() + first,
               *ty2 = truths.y2.data() + first, *areas = truths.area.data() + first;
  const uint64_t* regions = truths.region.data() + first;
  for (int64_t i = 0; i < count; ++i) {
    const double right = x2 < tx2[i] ? x2 : tx2[i], left = x1 > tx1[i] ? x1 : tx1[i];
    const double bottom = y2 < ty2[i] ? y2 : ty2[i], top = y1 > ty1[i] ? y1 : ty1[i];
    const double width = right - left + offset, height = bottom - top + offset;
    const double intersection = (width > 0.0 ? width : 0.0) * (height > 0.0 ? height : 0.0);
    // Chosen by bits: the compiler would not make vectors of a branch with arithmetic in it.
    const auto both = std::bit_cast<uint64_t>(area + areas[i] - intersection);
    const auto whole = std::bit_cast<double>((area_bits & regions[i]) | (both & ~regions[i]));
    overlaps[i] = intersection / whole;
  }
}

// The place of the truth that a detection takes, or -1, and what becomes of the detection.
struct Choice {
  int64_t truth;
  int8_t outcome;
};

inline bool fits(const Problem& problem, double overlap) {
  return problem.inclusive ? overlap >= problem.iou_threshold : overlap > problem.iou_threshold;
}

inline Choice choose_unmatched(const Problem& problem, Truths& truths, const Image& image, const double* overlaps) {
  int64_t real = -1, ignored = -1;
  double best_real = 0.0, best_ignored = 0.0;
  for (int64_t place = image.first_truth; place < image.end_truth; ++place) {
    const double overlap = overlaps[place - image.first_truth];
    if (!fits(problem, overlap)) continue;
    if (truths.ignored[place] != 0) {
      if (overlap > best_ignored) best_ignored = overlap, ignored = place;
    } else if (truths.taken[place] == 0 && overlap > best_real) {
      best_real = overlap, real = place;
    }
  }
  if (real >= 0) {
    truths.taken[real] = 1;
    return {real, kTruePositive};
  }
  return {ignored, ignored >= 0 ? kNeither : kFalsePositive};
}

inline Choice choose_then_flag(const Problem& problem, Truths& truths, const Image& image, const double* overlaps) {
  int64_t best = -1;
  double highest = 0.0;
  for (int64_t place = image.first_truth; place < image.end_truth; ++place) {
    const double overlap = overlaps[place - image.first_truth];
    if (overlap > highest) highest = overlap, best = place;
  }
  if (!fits(problem, highest)) return {-1, kFalsePositive};
  if (truths.ignored[best] != 0) return {best, kNeither};
  if (truths.taken[best] != 0) return {-1, kFalsePositive};
  truths.taken[best] = 1;
  return {best, kTruePositive};
}

inline void match_image(const Problem& problem, Truths& truths, const std::vector<Entry>& detections,
                        const Image& image, double* overlaps, const Result& result) {
  for (int64_t i = image.first_detection; i < image.end_detection; ++i) {
    const int64_t detection = detections[i].index;
    overlaps_of(problem, truths, image, detection, overlaps);
    const auto choose = problem.policy == Policy::best_unmatched ? choose_unmatched : choose_then_flag;
    const Choice choice = choose(problem, truths, image, overlaps);
    result.truth[detection] = choice.truth >= 0 ? truths.index[choice.truth] : -1;
    result.outcome[detection] = choice.outcome;
  }
}

inline Truths gather_truths(const Problem& problem, const std::vector<Entry>& sorted) {
  Truths truths;
  for (auto* column : {&truths.x1, &truths.y1, &truths.x2, &truths.y2, &truths.area}) column->resize(sorted.size());
  truths.region.resize(sorted.size());
  truths.index.resize(sorted.size());
  truths.ignored.resize(sorted.size());
  truths.taken.resize(sorted.size());
  for (size_t place = 0; place < sorted.size(); ++place) {
    const int64_t index = sorted[place].index;
    const double* box = problem.truths + 4 * index;
    truths.index[place] = index;
    truths.x1[place] = box[0];
    truths.y1[place] = box[1];
    truths.x2[place] = box[2];
    truths.y2[place] = box[3];
    truths.area[place] = (box[2] - box[0] + problem.pixel_offset) * (box[3] - box[1] + problem.pixel_offset);
    truths.region[place] = problem.regions != nullptr && problem.regions[index] != 0 ? ~uint64_t{0} : 0;
    truths.ignored[place] = problem.ignored[index];
  }
  return truths;
}

// The images that have detections; both lists are sorted by image.
inline std::vector<Image> find_images(const std::vector<Entry>& detections, const std::vector<Entry>& truths) {
  std::vector<Image> images;
  const auto detection_count = static_cast<int64_t>(detections.size());
  const auto truth_count = static_cast<int64_t>(truths.size());
  int64_t truth = 0;
  for (int64_t first = 0, end = 0; first < detection_count; first = end) {
    const uint64_t key = detections[first].key;
    while (end < detection_count && detections[end].key == key) ++end;
    while (truth < truth_count && truths[truth].key < key) ++truth;
    const int64_t first_truth = truth;
    while (truth < truth_count && truths[truth].key == key) ++truth;
    images.push_back({first, end, first_truth, truth});
  }
  return images;
}

// Matches all images; each one is one thread's work, so the number of threads changes no result.
inline void match(const Problem& problem, int64_t threads, const Result& result) {
  std::vector<Entry> detections(problem.detection_count), sorted_truths(problem.truth_count);
  for (int64_t i = 0; i < problem.detection_count; ++i) detections[i] = {key_of_score(problem.scores[i]), i};
  sort_stably(detections);
  for (int64_t i = 0; i < problem.detection_count; ++i) {
    result.order[i] = detections[i].index;
    detections[i].key = key_of_image(problem.detection_images[detections[i].index]);
  }
  sort_stably(detections);  // by image, within one by score, within that by index
  for (int64_t i = 0; i < problem.truth_count; ++i) sorted_truths[i] = {key_of_image(problem.truth_images[i]), i};
  sort_stably(sorted_truths);

  Truths truths = gather_truths(problem, sorted_truths);
  const std::vector<Image> images = find_images(detections, sorted_truths);
  const auto image_count = static_cast<int64_t>(images.size());
  int64_t most_truths = 0;
  for (const Image& image : images) most_truths = std::max(most_truths, image.end_truth - image.first_truth);
  threads = std::clamp<int64_t>(threads, 1, std::max<int64_t>(image_count, 1));
  std::vector<std::vector<double>> overlaps(threads, std::vector<double>(most_truths));

  std::atomic<int64_t> next{0};
  const auto work = [&](int64_t thread) noexcept {
    for (int64_t i = next.fetch_add(1); i < image_count; i = next.fetch_add(1)) {
      match_image(problem, truths, detections, images[i], overlaps[thread].data(), result);
    }
  };
  std::vector<std::thread> helpers;
  helpers.reserve(threads - 1);
  try {
    for (int64_t thread = 1; thread < threads; ++thread) helpers.emplace_back(work, thread);
  } catch (const std::system_error&) {
    // The system gives no more threads; those that there are do all the work.
  }
  work(0);
  for (std::thread& helper : helpers) helper.join();
}

}  // namespace spnas::match_detections
