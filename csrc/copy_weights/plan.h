// From the operator's arguments to checked jobs; on the host, for both devices.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "common/stable.h"
#include "copy_weights/arithmetic.h"

namespace spnas::copy_weights {

using Tensors = std::vector<Tensor>;
using OptionalTensors = std::vector<std::optional<Tensor>>;

inline Type type_of(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::Double: return Type::float64;
    case ScalarType::Float: return Type::float32;
    case ScalarType::Half: return Type::float16;
    case ScalarType::BFloat16: return Type::bfloat16;
    default: return Type::other;
  }
}

// Bytes from the first to behind the last element.
struct Extent {
  const char* begin;
  const char* end;
  size_t index;
};

inline Extent extent_of(const Tensor& tensor, size_t index) {
  const auto sizes = tensor.sizes();
  const auto strides = tensor.strides();
  int64_t last = 0;
  for (size_t dim = 0; dim < sizes.size(); ++dim) last += (sizes[dim] - 1) * strides[dim];
  const char* begin = static_cast<const char*>(tensor.const_data_ptr());
  return {begin, begin + (last + 1) * static_cast<int64_t>(tensor.element_size()), index};
}

// Whether two elements of one tensor can share memory: every dimension must step over all that the smaller ones span.
inline bool overlaps_itself(const Tensor& tensor) {
  if (tensor.is_contiguous()) return false;
  std::vector<std::pair<int64_t, int64_t>> steps;  // stride, size
  const auto sizes = tensor.sizes(), strides = tensor.strides();
  for (size_t dim = 0; dim < sizes.size(); ++dim) {
    if (sizes[dim] > 1) steps.emplace_back(strides[dim], sizes[dim]);
  }
  std::sort(steps.begin(), steps.end());
  int64_t span = 1;
  for (const auto& [stride, size] : steps) {
    if (stride < span) return true;
    span = stride * (size - 1) + span;
  }
  return false;
}

inline void check_overlaps(const Tensors& destinations, const Tensors& sources) {
  std::vector<Extent> written, read;
  for (size_t i = 0; i < destinations.size(); ++i) {
    if (destinations[i].numel() == 0) continue;
    require(!overlaps_itself(destinations[i]), "destination ", i, " overlaps itself: give it memory of its own");
    written.push_back(extent_of(destinations[i], i));
    read.push_back(extent_of(sources[i], i));
  }
  const auto first = [](const Extent& a, const Extent& b) { return a.begin < b.begin; };
  std::sort(written.begin(), written.end(), first);
  for (size_t i = 1; i < written.size(); ++i) {
    require(written[i - 1].end <= written[i].begin, "destinations ", written[i - 1].index, " and ", written[i].index,
            " overlap: each must have memory of its own");
  }
  // The written extents are disjoint by now, so only the last one that begins before a source ends can reach into it.
  for (const Extent& source : read) {
    const auto next = std::lower_bound(written.begin(), written.end(), source.end,
                                       [](const Extent& a, const char* end) { return a.begin < end; });
    if (next != written.begin()) {
      const Extent& before = *(next - 1);
      require(before.end <= source.begin, "destination ", before.index, " overlaps source ", source.index,
              ": sources must not be written");
    }
  }
}

// Jobs point into maps and scales, so what is strided is replaced by a copy that lives as long as the caller's list.
inline void bring_into_order(std::optional<Tensor>& tensor) {
  if (tensor.has_value() && !tensor->is_contiguous()) tensor = torch::stable::contiguous(*tensor);
}

inline const int64_t* map_of(std::optional<Tensor>& map, int64_t entries, int64_t limit, const char* kind, size_t index) {
  if (!map.has_value()) return nullptr;
  require(map->is_cpu() && map->scalar_type() == ScalarType::Long && map->dim() == 1, kind, " map ", index,
          " must be a one-dimensional int64 tensor on the CPU, not one of ", map->dim(), " dimensions and type ",
          map->scalar_type(), map->is_cpu() ? "" : " on another device");
  bring_into_order(map);
  require(map->numel() == entries, kind, " map ", index, " has ", map->numel(), " entries for ", entries,
          " channels of its destination");
  const int64_t* values = map->const_data_ptr<int64_t>();
  for (int64_t i = 0; i < entries; ++i) {
    require(values[i] >= 0 && values[i] < limit, kind, " map ", index, " points to channel ", values[i],
            " of a source that has ", limit);
  }
  return values;
}

// Whether two tensors of one shape hold their elements in the same order without gaps.
inline bool same_dense_layout(const Tensor& a, const Tensor& b) {
  if (a.is_contiguous() && b.is_contiguous()) return true;
  std::vector<std::pair<int64_t, int64_t>> steps;  // stride, size
  const auto sizes = a.sizes(), a_strides = a.strides(), b_strides = b.strides();
  for (size_t dim = 0; dim < sizes.size(); ++dim) {
    if (sizes[dim] == 1) continue;
    if (a_strides[dim] != b_strides[dim]) return false;
    steps.emplace_back(a_strides[dim], sizes[dim]);
  }
  std::sort(steps.begin(), steps.end());
  int64_t span = 1;
  for (const auto& [stride, size] : steps) {
    if (stride != span) return false;
    span *= size;
  }
  return true;
}

inline Job make_job(const Tensor& destination, const Tensor& source, std::optional<Tensor>& output_map,
                    std::optional<Tensor>& input_map, std::optional<Tensor>& scale, size_t index) {
  const int64_t dims = destination.dim();
  require(dims == source.dim(), "destination ", index, " has ", dims, " dimensions, its source ", source.dim());
  require(dims <= kMaxDims, "destination ", index, " has ", dims, " dimensions: at most ", kMaxDims, " are supported");
  require(!output_map || dims >= 1, "output map ", index, " needs a destination of at least one dimension");
  require(!input_map || dims >= 2, "input map ", index, " needs a destination of at least two dimensions");

  Job job{};
  job.destination = static_cast<char*>(destination.mutable_data_ptr());
  job.source = static_cast<const char*>(source.const_data_ptr());
  job.numel = destination.numel();
  job.item_size = static_cast<int32_t>(destination.element_size());
  job.destination_type = type_of(destination);
  job.source_type = type_of(source);
  const bool converts = destination.scalar_type() != source.scalar_type();
  require(!(converts || scale) || (job.destination_type != Type::other && job.source_type != Type::other), "copy ", index,
          " converts or scales: both sides must be float64, float32, float16 or bfloat16");

  const int64_t unused = kMaxDims - dims;
  job.output_dim = static_cast<int32_t>(unused);
  job.input_dim = static_cast<int32_t>(dims >= 2 ? unused + 1 : kMaxDims);
  std::fill(job.sizes, job.sizes + unused, 1);
  const auto sizes = destination.sizes(), source_sizes = source.sizes();
  const auto strides = destination.strides(), source_strides = source.strides();
  for (int64_t dim = unused; dim < kMaxDims; ++dim) {
    job.sizes[dim] = sizes[dim - unused];
    job.destination_strides[dim] = strides[dim - unused];
    job.source_strides[dim] = source_strides[dim - unused];
    const bool mapped = (dim == job.output_dim && output_map) || (dim == job.input_dim && input_map);
    require(mapped || source_sizes[dim - unused] == job.sizes[dim], "destination ", index, " has size ", job.sizes[dim],
            " in dimension ", dim - unused, ", its source ", source_sizes[dim - unused]);
  }
  if (dims >= 1) job.output_map = map_of(output_map, sizes[0], source_sizes[0], "output", index);
  if (dims >= 2) job.input_map = map_of(input_map, sizes[1], source_sizes[1], "input", index);
  if (scale) {
    const int64_t channels = dims >= 2 ? destination.size(1) : 1;
    require(scale->is_cpu() && scale->scalar_type() == ScalarType::Double, "scale ", index,
            " must be a float64 tensor on the CPU, not one of type ", scale->scalar_type(),
            scale->is_cpu() ? "" : " on another device");
    bring_into_order(scale);
    require(scale->numel() == 1 || (scale->numel() == channels && dims >= 2), "scale ", index, " has ", scale->numel(),
            " entries: it needs one, or one per input channel of its destination (", channels, ")");
    job.scale = scale->const_data_ptr<double>();
    job.scale_step = scale->numel() == 1 ? 0 : 1;
  }
  job.is_plain = !converts && !scale && !job.output_map && !job.input_map && same_dense_layout(destination, source);
  return job;
}

// The jobs point into the lists' tensors, some of which are replaced on the way: the lists must outlive them.
inline std::vector<Job> make_jobs(const Tensors& destinations, const Tensors& sources, OptionalTensors& output_maps,
                                  OptionalTensors& input_maps, OptionalTensors& scales) {
  const size_t count = destinations.size();
  require(sources.size() == count && output_maps.size() == count && input_maps.size() == count && scales.size() == count,
          "there must be one source, output map, input map and scale (or none of it) for each of ", count, " destinations");
  std::vector<Job> jobs;
  jobs.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    require_device(destinations[i], "destination ", i, destinations[0], "destination 0");
    require_device(sources[i], "source ", i, destinations[0], "destination 0");
    Job job = make_job(destinations[i], sources[i], output_maps[i], input_maps[i], scales[i], i);
    if (job.numel > 0) jobs.push_back(job);
  }
  check_overlaps(destinations, sources);
  return jobs;
}

}  // namespace spnas::copy_weights
