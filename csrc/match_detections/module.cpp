// The Python module spnas_kernels._matching; spnas_kernels.match_detections checks the values that come here.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <stdexcept>

#include "match_detections/match.h"

namespace py = pybind11;

namespace spnas::match_detections {
namespace {

template <typename Value>
using Array = py::array_t<Value, py::array::c_style>;

void require(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}

const uint8_t* flags_of(const Array<bool>& flags) { return static_cast<const uint8_t*>(flags.request().ptr); }

py::tuple match_arrays(const Array<double>& detections, const Array<double>& scores,
                       const Array<int64_t>& detection_images, const Array<double>& truths,
                       const Array<int64_t>& truth_images, const Array<bool>& ignored,
                       const std::optional<Array<bool>>& regions, double iou_threshold, bool inclusive,
                       double pixel_offset, bool flags_the_best, int64_t threads) {
  const py::ssize_t detection_count = scores.size(), truth_count = ignored.size();
  require(detections.size() == 4 * detection_count && detection_images.size() == detection_count,
          "detections, scores and detection_images must be of one length");
  require(truths.size() == 4 * truth_count && truth_images.size() == truth_count &&
              (!regions || regions->size() == truth_count),
          "truths, truth_images, ignored and regions must be of one length");
  Array<int64_t> truth(detection_count), order(detection_count);
  Array<int8_t> outcome(detection_count);
  const Problem problem{
      .detections = detections.data(),
      .scores = scores.data(),
      .detection_images = detection_images.data(),
      .detection_count = detection_count,
      .truths = truths.data(),
      .truth_images = truth_images.data(),
      .ignored = flags_of(ignored),
      .regions = regions ? flags_of(*regions) : nullptr,
      .truth_count = truth_count,
      .iou_threshold = iou_threshold,
      .inclusive = inclusive,
      .pixel_offset = pixel_offset,
      .policy = flags_the_best ? Policy::best_then_flag : Policy::best_unmatched,
  };
  const Result result{truth.mutable_data(), outcome.mutable_data(), order.mutable_data()};
  {
    const py::gil_scoped_release release;
    match(problem, threads, result);
  }
  return py::make_tuple(truth, outcome, order);
}

}  // namespace
}  // namespace spnas::match_detections

PYBIND11_MODULE(_matching, m) {
  m.def("match", &spnas::match_detections::match_arrays, py::arg("detections").noconvert(),
        py::arg("scores").noconvert(), py::arg("detection_images").noconvert(), py::arg("truths").noconvert(),
        py::arg("truth_images").noconvert(), py::arg("ignored").noconvert(), py::arg("regions").noconvert(),
        py::arg("iou_threshold"), py::arg("inclusive"), py::arg("pixel_offset"), py::arg("flags_the_best"),
        py::arg("threads"));
}
