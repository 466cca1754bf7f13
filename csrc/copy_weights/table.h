// The table of a CUDA copy: jobs, maps, scales and pieces in one block of memory, which holds addresses in itself.
#pragma once

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "copy_weights/rows.h"

namespace spnas::copy_weights {

constexpr int64_t kPlainBytes = 1 << 15;     // of a piece
constexpr int64_t kMappedElements = 1 << 12;

// What one block does: a run of bytes …
struct PlainPiece {
  char* destination;
  const char* source;
  int64_t bytes;
};

// … or elements [begin, end) of a job.
struct MappedPiece {
  int64_t job, begin, end;
};

struct MappedJob {
  Job job;
  uint32_t inputs, run;  // see Rows; run is 0 where there are none
};

// Where the parts of a table begin, in bytes, and how many pieces there are.
struct Layout {
  int64_t mapped_pieces_at, mapped_pieces, plain_pieces_at, plain_pieces;
};

struct Table {
  std::vector<char> bytes;  // mapped jobs first
  Layout layout;
  std::vector<size_t> addresses;  // where in `bytes` an offset stands that has to become an address

  // The table as it works where it is going to lie.
  const char* moved_to(char* base) {
    for (const size_t at : addresses) {
      uintptr_t offset;
      std::memcpy(&offset, bytes.data() + at, sizeof offset);
      offset += reinterpret_cast<uintptr_t>(base);
      std::memcpy(bytes.data() + at, &offset, sizeof offset);
    }
    addresses.clear();
    return bytes.data();
  }
};

template <typename Value>
size_t append(std::vector<char>& bytes, const Value* values, size_t count) {
  const size_t offset = (bytes.size() + 15) / 16 * 16;
  bytes.resize(offset + count * sizeof(Value));
  if (count > 0) std::memcpy(bytes.data() + offset, values, count * sizeof(Value));
  return offset;
}

inline Table make_table(const std::vector<Job>& jobs) {
  Table table;
  std::vector<PlainPiece> plain;
  std::vector<MappedPiece> pieces;
  std::vector<MappedJob> mapped;
  for (const Job& job : jobs) {
    if (job.is_plain) {
      const int64_t bytes = job.numel * job.item_size;
      for (int64_t begin = 0; begin < bytes; begin += kPlainBytes) {
        plain.push_back({job.destination + begin, job.source + begin, std::min(kPlainBytes, bytes - begin)});
      }
      continue;
    }
    for (int64_t begin = 0; begin < job.numel; begin += kMappedElements) {
      pieces.push_back({static_cast<int64_t>(mapped.size()), begin, std::min(begin + kMappedElements, job.numel)});
    }
    const Rows rows = rows_of(job);
    const bool is_short = rows.exist && job.output_dim < kMaxDims && rows.inputs * rows.run < std::numeric_limits<int32_t>::max();
    mapped.push_back({job, is_short ? static_cast<uint32_t>(rows.inputs) : 0, is_short ? static_cast<uint32_t>(rows.run) : 0});
  }
  table.bytes.resize(mapped.size() * sizeof(MappedJob));
  for (size_t i = 0; i < mapped.size(); ++i) {
    Job& job = mapped[i].job;
    const auto move = [&](const auto*& values, int64_t count) {
      if (values == nullptr) return;
      const size_t offset = append(table.bytes, values, static_cast<size_t>(count));
      values = reinterpret_cast<std::remove_reference_t<decltype(values)>>(offset);
      table.addresses.push_back(i * sizeof(MappedJob) + static_cast<size_t>(reinterpret_cast<char*>(&values) - reinterpret_cast<char*>(&mapped[i])));
    };
    move(job.output_map, job.output_dim < kMaxDims ? job.sizes[job.output_dim] : 0);
    move(job.input_map, job.input_dim < kMaxDims ? job.sizes[job.input_dim] : 0);
    move(job.scale, job.scale_step ? job.sizes[job.input_dim] : 1);
  }
  if (!mapped.empty()) std::memcpy(table.bytes.data(), mapped.data(), mapped.size() * sizeof(MappedJob));
  table.layout.mapped_pieces = static_cast<int64_t>(pieces.size());
  table.layout.mapped_pieces_at = static_cast<int64_t>(append(table.bytes, pieces.data(), pieces.size()));
  table.layout.plain_pieces = static_cast<int64_t>(plain.size());
  table.layout.plain_pieces_at = static_cast<int64_t>(append(table.bytes, plain.data(), plain.size()));
  return table;
}

}  // namespace spnas::copy_weights
