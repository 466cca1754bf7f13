// What a CUDA device does: groups in the order of scores, and the walk through each of them.
#pragma once

#include "nms_grouped/keys.cuh"
#include "nms_grouped/walk.cuh"
