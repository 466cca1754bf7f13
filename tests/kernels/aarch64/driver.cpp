// Runs the inner loops of all operators on made-up input, without torch, and prints what they give: "exact NAME HASH" where
// every processor must agree to the bit, "close NAME VALUES" where sums of products may be rounded once or twice.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "assign_targets/arithmetic.h"
#include "assign_targets/kernel.h"
#include "common/half.h"
#include "copy_weights/kernel.h"
#include "match_detections/match.h"
#include "nms_grouped/kernel.h"
#include "roi_align_fpn/arithmetic.h"
#include "roi_align_fpn/kernel.h"

namespace {

uint64_t state = 1;

uint32_t random_bits() {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return uint32_t(state >> 33);
}

double random_number(double most) { return most * random_bits() / 2147483648.0; }

// Of their bytes; the compiler can't contract across it.
template <typename Value>
void print_exact(const char* name, const std::vector<Value>& values) {
  uint64_t hash = 14695981039346656037u;
  const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
  for (size_t i = 0; i < values.size() * sizeof(Value); ++i) hash = (hash ^ bytes[i]) * 1099511628211u;
  std::printf("exact %s %016llx\n", name, static_cast<unsigned long long>(hash));
}

template <typename Value>
void print_close(const char* name, const std::vector<Value>& values) {
  std::printf("close %s", name);
  for (const Value value : values) std::printf(" %.9g", double(value));
  std::printf("\n");
}

template <typename Value>
std::vector<Value> random_boxes(int64_t count, double size) {
  std::vector<Value> boxes;
  for (int64_t i = 0; i < count; ++i) {
    const Value x = Value(random_number(size)), y = Value(random_number(size));
    boxes.insert(boxes.end(), {x, y, x + Value(random_number(size / 4)), y + Value(random_number(size / 4))});
  }
  return boxes;
}

void halves() {
  std::vector<float> wide;
  std::vector<uint16_t> narrow;
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = spnas::half_to_float(uint16_t(bits));
    if (value == value) wide.push_back(value);
    wide.push_back((bits & 0x7fffu) > 0x7f80u ? 0.0f : spnas::bfloat16_to_float(uint16_t(bits)));
  }
  for (int i = 0; i < 200000; ++i) {
    const float value = spnas::float_of(random_bits() * 2);
    if (value != value) continue;
    narrow.push_back(spnas::float_to_half(value));
    narrow.push_back(spnas::float_to_bfloat16(value));
  }
  print_exact("half widened", wide);
  print_exact("half rounded", narrow);
}

template <typename Value, typename Suppress>
void suppression(const char* name, const Suppress& suppress) {
  std::vector<uint8_t> all;
  for (const int64_t count : {1, 7, 63, 64, 500, 3000}) {
    for (const double threshold : {0.0, 0.3, 0.5, 0.7}) {
      const std::vector<Value> boxes = random_boxes<Value>(count, 300);
      std::vector<char> workspace(spnas::nms_grouped::workspace_bytes(count, sizeof(Value)));
      std::vector<uint8_t> kept(count);
      suppress(boxes.data(), count, threshold, count, workspace.data(), kept.data());
      all.insert(all.end(), kept.begin(), kept.end());
    }
  }
  print_exact(name, all);
}

void assignment() {
  namespace at = spnas::assign_targets;
  const int64_t count = 5000, object_count = 40;
  const std::vector<float> boxes = random_boxes<float>(count, 400), corners = random_boxes<float>(object_count, 400);
  std::vector<at::Object> objects;
  for (int64_t g = 0; g < object_count; ++g) {
    const float* box = corners.data() + g * 4;
    objects.push_back({box[0], box[1], box[2], box[3], at::area_of(box[0], box[1], box[2], box[3]), int32_t(g)});
  }
  std::vector<float> best(object_count);
  spnas::baseline::raise_best(boxes.data(), count, objects.data(), object_count, best.data());
  print_exact("best of objects", best);
  std::vector<float> overlaps;
  std::vector<int32_t> rows;
  for (int64_t first = 0; first < count; first += at::kBlock) {
    const int64_t here = count - first < at::kBlock ? count - first : at::kBlock;
    at::Found found;
    spnas::baseline::find(boxes.data() + first * 4, here, objects.data(), object_count, objects.data(), 5, best.data(), &found);
    overlaps.insert(overlaps.end(), found.best, found.best + here);
    overlaps.insert(overlaps.end(), found.ignored, found.ignored + here);
    rows.insert(rows.end(), found.row, found.row + here);
    rows.insert(rows.end(), found.is_best, found.is_best + here);
  }
  print_exact("overlaps", overlaps);
  print_exact("rows", rows);
}

void copies() {
  std::vector<float> source(9 * 500), gathered(9 * 300), scaled(9 * 300);
  for (float& value : source) value = float(random_number(2) - 1);
  std::vector<int64_t> map(300);
  std::vector<double> scale(300);
  for (int i = 0; i < 300; ++i) map[i] = random_bits() % 500, scale[i] = random_number(3);
  const auto bytes = [](auto& values) { return reinterpret_cast<char*>(values.data()); };
  spnas::baseline::gather_runs(bytes(gathered), bytes(source), map.data(), 300, 9, 4);
  spnas::baseline::gather_scaled_floats(scaled.data(), source.data(), map.data(), scale.data(), 1, 300, 9);
  std::vector<float> streamed(4001);
  spnas::baseline::stream_bytes(bytes(streamed) + 4, bytes(source) + 8, 16000);
  print_exact("gathered", gathered);
  print_exact("scaled", scaled);
  print_exact("streamed", streamed);
}

void levels_and_samples() {
  using namespace spnas::roi_align_fpn;
  std::vector<int32_t> levels, lows;
  std::vector<float> shares;
  const std::vector<float> boxes = random_boxes<float>(2000, 1200);
  for (int64_t k = 0; k < 2000; ++k) {
    const float* box = boxes.data() + k * 4;
    levels.push_back(level_of(box, LevelRule{4, 2, 4, 224.0}));
    const Span<float> span = span_of(box[0], box[2], 0.25f, k % 2 != 0, 7, int32_t(k % 3));
    for (int32_t bin = 0; bin < 7; ++bin) {
      for (int32_t number = 0; number < span.samples; ++number) {
        const Sample<float> sample = sample_at(span, bin, number, 250);
        lows.push_back(sample.is_inside ? sample.low : -1);
        shares.push_back(sample.share_of_high);
      }
    }
  }
  print_exact("levels", levels);
  print_exact("pixels", lows);
  print_exact("shares", shares);
}

template <typename Stored, typename Narrow>
void pooling(const char* name, const Narrow& narrow) {
  using namespace spnas::roi_align_fpn;
  constexpr int kHeight = 12, kWidth = 15, kBins = 3;
  std::vector<Stored> planar(kBlock * kHeight * kWidth), back(planar.size()), output(kBlock * kBins * kBins);
  for (Stored& value : planar) value = narrow(float(random_number(2) - 1));
  std::vector<float> pixels(planar.size()), spread(planar.size()), bins(output.size());
  const Strides strides{kHeight * kWidth, 1};
  spnas::baseline::read_pixels(planar.data(), strides, kBlock, kHeight * kWidth, pixels.data());
  spnas::baseline::write_pixels(pixels.data(), strides, kBlock, kHeight * kWidth, false, back.data());
  if (std::memcmp(planar.data(), back.data(), planar.size() * sizeof(Stored)) != 0) std::printf("lost %s\n", name);
  for (const int32_t taps : {1, 2, 3, 4, 6}) {
    std::vector<int32_t> index(kBins * taps);
    std::vector<float> weight(kBins * taps);
    for (int i = 0; i < kBins * taps; ++i) index[i] = random_bits() % kHeight, weight[i] = float(random_number(1));
    const Axis<float> axis{index.data(), weight.data(), kBins, taps};
    spnas::baseline::pool({pixels.data(), kWidth * kBlock, kBlock}, axis, axis, 1, bins.data());
    spnas::baseline::write_bins(bins.data(), kBlock, kBlock, kBins * kBins, static_cast<Stored*>(nullptr), output.data());
    print_close(name, bins);
    spnas::baseline::read_bins(output.data(), kBlock, kBins * kBins, bins.data());
    spnas::baseline::spread({spread.data(), kWidth * kBlock, kBlock}, axis, axis, bins.data());
  }
  print_close(name, spread);
}

void matching() {
  namespace md = spnas::match_detections;
  const int64_t count = 600, truths = 200;
  const std::vector<double> boxes = random_boxes<double>(count, 300), others = random_boxes<double>(truths, 300);
  std::vector<double> scores(count);
  std::vector<int64_t> images(count), truth_images(truths), truth(count), order(count);
  std::vector<uint8_t> ignored(truths), regions(truths);
  std::vector<int8_t> outcome(count);
  for (int64_t i = 0; i < count; ++i) scores[i] = int(random_number(50)) / 50.0, images[i] = random_bits() % 7;
  for (int64_t i = 0; i < truths; ++i) {
    truth_images[i] = random_bits() % 7;
    regions[i] = random_bits() % 9 == 0;
    ignored[i] = regions[i] != 0 || random_bits() % 5 == 0;
  }
  for (const auto policy : {md::Policy::best_unmatched, md::Policy::best_then_flag}) {
    const md::Problem problem{boxes.data(), scores.data(), images.data(), count, others.data(), truth_images.data(),
                              ignored.data(), regions.data(), truths, 0.3, true, 0.0, policy};
    md::match(problem, 2, md::Result{truth.data(), outcome.data(), order.data()});
    print_exact("matched", truth);
    print_exact("outcomes", outcome);
    print_exact("order", order);
  }
}

}  // namespace

int main() {
  halves();
  suppression<float>("kept of floats", spnas::baseline::suppress_floats);
  suppression<double>("kept of doubles", spnas::baseline::suppress_doubles);
  assignment();
  copies();
  levels_and_samples();
  pooling<float>("float32", [](float value) { return value; });
  pooling<spnas::roi_align_fpn::Half>("float16", [](float value) { return spnas::roi_align_fpn::Half{spnas::float_to_half(value)}; });
  pooling<spnas::roi_align_fpn::BFloat16>(
      "bfloat16", [](float value) { return spnas::roi_align_fpn::BFloat16{spnas::float_to_bfloat16(value)}; });
  matching();
}
