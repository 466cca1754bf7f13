// What a CUDA device does: RoIAlign both ways.
#pragma once

#include "roi_align_fpn/any_size.cuh"
#include "roi_align_fpn/deterministic.cuh"
#include "roi_align_fpn/interleaved.cuh"
#include "roi_align_fpn/planar.cuh"
