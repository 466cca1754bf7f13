#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <limits>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/allocation.h"
#include "common/parallel.h"
#include "nms_grouped/kernel.h"
#include "nms_grouped/plan.h"

namespace spnas::nms_grouped {
namespace {

constexpr int64_t kSerial = 1024;     // boxes up to which waking other threads costs more than it gains
constexpr int64_t kFewItems = 64;     // up to which a comparison sort beats a radix sort
constexpr int64_t kManyItems = 3000;  // above which fewer passes are worth larger tables

// Memory that is written before it is read.
template <typename Value>
std::unique_ptr<Value[]> uninitialised(int64_t count) {
  return std::unique_ptr<Value[]>(new Value[static_cast<size_t>(count)]);
}

// Ascending keys are descending scores; both zeros get one key.
template <typename Score>
auto key_of(Score score) {
  using Key = std::conditional_t<sizeof(Score) == 4, uint32_t, uint64_t>;
  const Key bits = std::bit_cast<Key>(Score(score + Score(0)));
  const Key sign = Key(1) << (sizeof(Key) * 8 - 1);
  return bits & sign ? bits : ~bits & ~sign;
}

template <typename Score>
struct Item {
  decltype(key_of(Score())) key;
  uint32_t index;
};

// Least significant digit first, so that equal keys keep their order; returns where the result is: items or scratch.
template <int kBits, typename Score>
Item<Score>* radix_sort(Item<Score>* items, Item<Score>* scratch, int64_t count) {
  constexpr int kBuckets = 1 << kBits;
  constexpr int kPasses = (sizeof(items->key) * 8 + kBits - 1) / kBits;
  uint32_t buckets[kPasses][kBuckets] = {};
  for (int64_t i = 0; i < count; ++i) {
    for (int pass = 0; pass < kPasses; ++pass) ++buckets[pass][(items[i].key >> (pass * kBits)) % kBuckets];
  }
  for (int pass = 0; pass < kPasses; ++pass) {
    uint32_t* next = buckets[pass];
    const int shift = pass * kBits;
    if (next[(items[0].key >> shift) % kBuckets] == count) continue;  // all share this digit
    uint32_t sum = 0;
    for (int bucket = 0; bucket < kBuckets; ++bucket) sum += std::exchange(next[bucket], sum);
    for (int64_t i = 0; i < count; ++i) scratch[next[(items[i].key >> shift) % kBuckets]++] = items[i];
    std::swap(items, scratch);
  }
  return items;
}

// By key, and equal keys by index.
template <typename Score>
Item<Score>* sort(Item<Score>* items, Item<Score>* scratch, int64_t count) {
  const auto before = [](const Item<Score>& a, const Item<Score>& b) {
    return a.key < b.key || (a.key == b.key && a.index < b.index);
  };
  if (count <= kFewItems) {
    std::sort(items, items + count, before);
    return items;
  }
  items = count > kManyItems ? radix_sort<11>(items, scratch, count) : radix_sort<8>(items, scratch, count);
  for (int64_t begin = 0, end; begin < count; begin = end) {
    for (end = begin + 1; end < count && items[end].key == items[begin].key; ++end) {
    }
    if (end - begin > 1 && !std::is_sorted(items + begin, items + end, before)) std::sort(items + begin, items + end, before);
  }
  return items;
}

// Writes a number from [0, result) for each group's value.
uint32_t number_groups(const int64_t* groups, int64_t count, uint32_t* numbers) {
  if (count == 0) return 0;
  int64_t low = groups[0], high = groups[0];
  for (int64_t i = 0; i < count; ++i) {
    low = std::min(low, groups[i]);
    high = std::max(high, groups[i]);
  }
  const uint64_t range = static_cast<uint64_t>(high) - static_cast<uint64_t>(low);
  if (range < static_cast<uint64_t>(2 * count + 64)) {
    for (int64_t i = 0; i < count; ++i) {
      numbers[i] = static_cast<uint32_t>(static_cast<uint64_t>(groups[i]) - static_cast<uint64_t>(low));
    }
    return static_cast<uint32_t>(range) + 1;
  }
  // Far apart: a hash table, at most half full, of the index at which a value came first.
  const int bits = std::bit_width(static_cast<uint64_t>(count)) + 1;
  constexpr uint32_t kEmpty = ~uint32_t(0);
  std::vector<uint32_t> table(size_t(1) << bits, kEmpty);
  uint32_t found = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint64_t slot = static_cast<uint64_t>(groups[i]) * 0x9e3779b97f4a7c15u >> (64 - bits);
    while (table[slot] != kEmpty && groups[table[slot]] != groups[i]) slot = (slot + 1) & (table.size() - 1);
    if (table[slot] == kEmpty) {
      table[slot] = static_cast<uint32_t>(i);
      numbers[i] = found++;
    } else {
      numbers[i] = numbers[table[slot]];
    }
  }
  return found;
}

// The boxes of one group in one image: begin is where they start among all images' members.
struct Group {
  int64_t image, begin, count;
  int64_t kept = 0;
};

template <typename Value>
bool holds_nan(const Value* values, int64_t count) {
  int found = 0;
  for (int64_t i = 0; i < count; ++i) found |= values[i] != values[i];
  return found != 0;
}

template <typename Value>
void refuse_nan(const char* name, const Value* values, int64_t count, int64_t values_per_box) {
  for (int64_t i = 0; i < count; ++i) {
    require(values[i] == values[i], name, " must not hold NaN: the one of box ", i / values_per_box, " does");
  }
}

// Three steps, each spread over the threads: images are split into groups, groups are sorted and suppressed, and what
// images kept of all their groups is sorted. So a sort of everything is never waited for.
template <typename Value, typename Score>
class Batch {
 public:
  Batch(const Tensor& boxes, const Tensor& scores, const Tensor& groups, const Shape& shape)
      : boxes_(boxes.const_data_ptr<Value>()),
        scores_(scores.const_data_ptr<Score>()),
        groups_(groups.const_data_ptr<int64_t>()),
        shape_(shape),
        members_(uninitialised<uint32_t>(shape.images * shape.count)),
        kept_(uninitialised<Item<Score>>(shape.images * shape.count)),
        groups_of_(shape.images) {}

  // Returns how many boxes are kept, at most limit in each group.
  int64_t suppress(double threshold, int64_t limit, bool masks_infinity) {
    std::atomic<bool> is_sound{true};
    spread(shape_.images, [&](int64_t image) {
      if (!split(image, masks_infinity)) is_sound = false;
    });
    if (!is_sound) {
      const int64_t count = shape_.images * shape_.count;
      refuse_nan("boxes", boxes_, count * 4, 4);
      refuse_nan("scores", scores_, count, 1);
    }
    std::vector<Group*> groups;
    for (auto& of_image : groups_of_) {
      for (Group& group : of_image) groups.push_back(&group);
    }
    std::sort(groups.begin(), groups.end(), [](const Group* a, const Group* b) { return a->count > b->count; });
    spread(static_cast<int64_t>(groups.size()), [&](int64_t i) { suppress_group(*groups[i], threshold, limit); });
    int64_t total = 0;
    for (const Group* group : groups) total += group->kept;
    return total;
  }

  // Writes the best of the image's kept indices, at most limit, and returns how many those are.
  int64_t write(int64_t image, int64_t limit, int64_t* indices) {
    std::vector<Group>& groups = groups_of_[image];
    Item<Score>* items = kept_.get() + image * shape_.count;
    int64_t count = 0;
    for (const Group& group : groups) {
      std::copy_n(kept_.get() + group.begin, group.kept, items + count);  // to the left, or where it is
      count += group.kept;
    }
    std::unique_ptr<Item<Score>[]> scratch;
    if (groups.size() > 1) {
      scratch = uninitialised<Item<Score>>(count);
      items = sort(items, scratch.get(), count);
    }
    const int64_t written = std::min(count, limit);
    for (int64_t i = 0; i < written; ++i) indices[i] = items[i].index;
    return written;
  }

  template <typename Work>
  void spread(int64_t pieces, const Work& work) const {
    if (shape_.images * shape_.count > kSerial && pieces > 1) return for_each_piece(pieces, work);
    for (int64_t i = 0; i < pieces; ++i) work(i);
  }

 private:
  // Finds an image's groups and their members; false if there is a NaN.
  bool split(int64_t image, bool masks_infinity) {
    const int64_t count = shape_.count, begin = image * count;
    const Score* scores = scores_ + begin;
    if (holds_nan(boxes_ + begin * 4, count * 4) || holds_nan(scores, count)) return false;
    const auto takes_part = [&](int64_t i) {
      return !masks_infinity || scores[i] != -std::numeric_limits<Score>::infinity();
    };
    const auto numbers = uninitialised<uint32_t>(count);
    std::vector<uint32_t> next(number_groups(groups_ + begin, count, numbers.get()));
    for (int64_t i = 0; i < count; ++i) next[numbers[i]] += takes_part(i);
    uint32_t sum = 0;
    for (uint32_t& entry : next) {
      if (entry > 0) groups_of_[image].push_back({image, begin + sum, entry});
      sum += std::exchange(entry, sum);
    }
    for (int64_t i = 0; i < count; ++i) {
      if (takes_part(i)) members_[begin + next[numbers[i]]++] = static_cast<uint32_t>(i);
    }
    return true;
  }

  void suppress_group(Group& group, double threshold, int64_t limit) {
    const Value* boxes = boxes_ + group.image * shape_.count * 4;
    const Score* scores = scores_ + group.image * shape_.count;
    const uint32_t* members = members_.get() + group.begin;
    const auto items = uninitialised<Item<Score>>(2 * group.count);
    for (int64_t i = 0; i < group.count; ++i) items[i] = {key_of(scores[members[i]]), members[i]};
    const Item<Score>* sorted = sort(items.get(), items.get() + group.count, group.count);

    const auto corners = uninitialised<Value>(group.count * 4);
    for (int64_t i = 0; i < group.count; ++i) {
      std::memcpy(corners.get() + i * 4, boxes + int64_t(sorted[i].index) * 4, 4 * sizeof(Value));
    }
    const auto workspace = uninitialised<char>(workspace_bytes(group.count, sizeof(Value)));
    const auto stays = uninitialised<uint8_t>(group.count);
    group.kept = kernel()(corners.get(), group.count, threshold, limit, workspace.get(), stays.get());
    Item<Score>* kept = kept_.get() + group.begin;
    for (int64_t i = 0; i < group.count; ++i) {
      if (stays[i]) *kept++ = sorted[i];
    }
  }

  static auto kernel() {
    if constexpr (std::is_same_v<Value, double>) {
      return SPNAS_SELECT(suppress_doubles);
    } else {
      return SPNAS_SELECT(suppress_floats);
    }
  }

  const Value* boxes_;
  const Score* scores_;
  const int64_t* groups_;
  const Shape shape_;
  std::unique_ptr<uint32_t[]> members_;  // indices into the image, one group behind the other
  std::unique_ptr<Item<Score>[]> kept_;  // each group's from its begin on, best first
  std::vector<std::vector<Group>> groups_of_;
};

// Calls work with a Batch of the tensors' types.
template <typename Work>
void with_batch(const Tensor& boxes, const Tensor& scores, const Tensor& groups, const Shape& shape, const Work& work) {
  const Tensor boxes_in_order = in_order(boxes), scores_in_order = in_order(scores);
  const Tensor groups_in_order = in_order(groups);
  const auto run = [&](auto value, auto score) {
    Batch<decltype(value), decltype(score)> batch(boxes_in_order, scores_in_order, groups_in_order, shape);
    work(batch);
  };
  const bool wide = boxes.scalar_type() == ScalarType::Double, wide_scores = scores.scalar_type() == ScalarType::Double;
  if (wide && wide_scores) return run(double(), double());
  if (wide) return run(double(), float());
  if (wide_scores) return run(float(), double());
  run(float(), float());
}

Tensor nms_grouped_cpu(const Tensor& boxes, const Tensor& scores, const Tensor& groups, double iou_threshold) {
  const Shape shape = checked_shape(boxes, scores, groups, iou_threshold, 1);
  Tensor keep;
  with_batch(boxes, scores, groups, shape, [&](auto& batch) {
    const int64_t total = batch.suppress(iou_threshold, shape.count, false);
    keep = new_tensor(groups, {total});
    batch.write(0, total, keep.mutable_data_ptr<int64_t>());
  });
  return keep;
}

std::tuple<Tensor, Tensor> nms_grouped_padded_cpu(const Tensor& boxes, const Tensor& scores, const Tensor& groups,
                                                  double iou_threshold, int64_t max_keep) {
  const Shape shape = checked_shape(boxes, scores, groups, iou_threshold, 2);
  require(max_keep >= 0, "max_keep must be at least 0, not ", max_keep);
  Tensor keep = new_tensor(groups, {shape.images, max_keep});
  Tensor counts = new_tensor(groups, {shape.images});
  int64_t* indices = keep.mutable_data_ptr<int64_t>();
  int64_t* totals = counts.mutable_data_ptr<int64_t>();
  with_batch(boxes, scores, groups, shape, [&](auto& batch) {
    batch.suppress(iou_threshold, max_keep, true);
    batch.spread(shape.images, [&](int64_t image) {
      int64_t* row = indices + image * max_keep;
      totals[image] = batch.write(image, max_keep, row);
      std::fill(row + totals[image], row + max_keep, -1);
    });
  });
  return {keep, counts};
}

}  // namespace
}  // namespace spnas::nms_grouped

STABLE_TORCH_LIBRARY_IMPL(spnas, CPU, m) {
  m.impl("nms_grouped", TORCH_BOX(&spnas::nms_grouped::nms_grouped_cpu));
  m.impl("nms_grouped_padded", TORCH_BOX(&spnas::nms_grouped::nms_grouped_padded_cpu));
}
