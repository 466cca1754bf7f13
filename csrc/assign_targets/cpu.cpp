#include <algorithm>
#include <utility>
#include <vector>

#include "assign_targets/kernel.h"
#include "assign_targets/plan.h"
#include "common/allocation.h"
#include "common/parallel.h"

namespace spnas::assign_targets {
namespace {

constexpr int64_t kPiece = 64 * kBlock;  // boxes that a thread takes at a time

struct Image {
  std::vector<Object> objects, regions;
  std::vector<float> best_of_object;
};

Image read_image(const float* objects, const int64_t* labels, int64_t count) {
  Image image;
  for (int64_t g = 0; g < count; ++g) {
    if (labels[g] == 0) continue;
    const float* box = objects + g * 4;
    if (box[0] != box[0] || box[1] != box[1] || box[2] != box[2] || box[3] != box[3]) continue;
    auto& list = labels[g] > 0 ? image.objects : image.regions;
    list.push_back({box[0], box[1], box[2], box[3], area_of(box[0], box[1], box[2], box[3]), static_cast<int32_t>(g)});
  }
  image.best_of_object.resize(image.objects.size(), 0.0f);
  return image;
}

class Assignment {
 public:
  Assignment(const Tensor& boxes, const Tensor& objects, const Tensor& labels, const Shape& shape)
      : boxes_(boxes.const_data_ptr<float>()), shape_(shape), pieces_((shape.boxes + kPiece - 1) / kPiece) {
    for (int64_t n = 0; n < shape.images; ++n) {
      images_.push_back(read_image(objects.const_data_ptr<float>() + n * shape.objects * 4,
                                   labels.const_data_ptr<int64_t>() + n * shape.objects, shape.objects));
    }
  }

  // Each piece finds its own maxima; their maximum does not depend on the order.
  void find_best_of_objects() {
    std::vector<std::vector<float>> of_pieces(shape_.images * pieces_);
    for_each_piece(shape_.images * pieces_, [&](int64_t piece) {
      const Image& image = images_[piece / pieces_];
      of_pieces[piece].resize(image.objects.size(), 0.0f);
      const auto [begin, end] = range(piece % pieces_);
      SPNAS_SELECT(raise_best)(boxes_of(piece / pieces_) + begin * 4, end - begin, image.objects.data(),
                               static_cast<int64_t>(image.objects.size()), of_pieces[piece].data());
    });
    for (int64_t piece = 0; piece < static_cast<int64_t>(of_pieces.size()); ++piece) {
      std::vector<float>& best = images_[piece / pieces_].best_of_object;
      for (size_t g = 0; g < best.size(); ++g) best[g] = std::max(best[g], of_pieces[piece][g]);
    }
  }

  void write(const Thresholds& thresholds, int64_t* rows) const {
    for_each_piece(shape_.images * pieces_, [&](int64_t piece) {
      const int64_t n = piece / pieces_;
      const Image& image = images_[n];
      const auto [begin, end] = range(piece % pieces_);
      for (int64_t first = begin; first < end; first += kBlock) {
        const int64_t count = std::min<int64_t>(kBlock, end - first);
        Found found;
        SPNAS_SELECT(find)(boxes_of(n) + first * 4, count, image.objects.data(), static_cast<int64_t>(image.objects.size()),
                           image.regions.data(), static_cast<int64_t>(image.regions.size()),
                           thresholds.keeps_best ? image.best_of_object.data() : nullptr, &found);
        int64_t* out = rows + n * shape_.boxes + first;
        for (int64_t i = 0; i < count; ++i) {
          out[i] = verdict(found.best[i], found.row[i], found.is_best[i] != 0, found.ignored[i], thresholds);
        }
      }
    });
  }

 private:
  const float* boxes_of(int64_t image) const { return boxes_ + image * shape_.box_stride; }

  std::pair<int64_t, int64_t> range(int64_t piece) const {
    return {piece * kPiece, std::min(shape_.boxes, (piece + 1) * kPiece)};
  }

  const float* boxes_;
  const Shape shape_;
  const int64_t pieces_;  // of one image
  std::vector<Image> images_;
};

Tensor assign_targets_cpu(const Tensor& boxes, const Tensor& objects, const Tensor& labels, double foreground,
                          double background, bool keeps_best, double ignored_overlap) {
  const Shape shape = checked_shape(boxes, objects, labels);
  const Thresholds thresholds = checked_thresholds(foreground, background, keeps_best, ignored_overlap);
  Tensor rows = new_tensor(labels, {shape.images, shape.boxes});
  const Tensor boxes_in_order = in_order(boxes), objects_in_order = in_order(objects);
  const Tensor labels_in_order = in_order(labels);
  Assignment assignment(boxes_in_order, objects_in_order, labels_in_order, shape);
  if (keeps_best) assignment.find_best_of_objects();
  assignment.write(thresholds, rows.mutable_data_ptr<int64_t>());
  return rows;
}

}  // namespace
}  // namespace spnas::assign_targets

STABLE_TORCH_LIBRARY_IMPL(spnas, CPU, m) {
  m.impl("assign_targets", TORCH_BOX(&spnas::assign_targets::assign_targets_cpu));
}
