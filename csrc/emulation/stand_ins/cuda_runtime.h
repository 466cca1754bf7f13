// In place of the toolkit's: everything is there already.
#pragma once

#include "emulation/cuda.h"
