"""Random weight copies, and comparing what came of them."""

import pytest
import torch
from hypothesis import strategies as st

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu])]
FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
OTHERS = [torch.int64, torch.int32, torch.uint8, torch.bool, torch.complex64, torch.complex128]


def same_bits(one, other):
    """Equal to the bit, but that any NaN equals any other."""
    if one.is_floating_point():
        nan = one.isnan()
        if not torch.equal(nan, other.isnan()):
            return False
        one, other = one.nan_to_num(0.0), other.nan_to_num(0.0)
    return one.dtype == other.dtype and torch.equal(one, other)


def laid_out(tensor, layout):
    """The same values in another order of memory, or with gaps."""
    if layout == "gaps" and tensor.dim():
        wide = tensor.new_zeros(*tensor.shape[:-1], 2 * tensor.shape[-1] + 1)
        wide[..., 1::2] = tensor
        return wide[..., 1::2]
    if layout == "channels-last" and tensor.dim() == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    if layout == "transposed" and tensor.dim() >= 2:
        return tensor.transpose(0, 1).contiguous().transpose(0, 1)
    return tensor.contiguous()


@st.composite
def copies(draw):
    """One copy: destination, source, maps, scale."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    dims = draw(st.integers(0, 6))
    shape = [draw(st.sampled_from([1, 1, 2, 3, 5, 9, 0])) for _ in range(dims)]
    source_shape = list(shape)
    maps = [None, None]
    for dim in range(min(dims, 2)):
        if draw(st.booleans()) and shape[dim]:
            source_shape[dim] = draw(st.integers(1, 7))
            maps[dim] = torch.randint(source_shape[dim], (shape[dim],), generator=generator)
    is_float = draw(st.booleans())
    target_type = draw(st.sampled_from(FLOATS if is_float else OTHERS))
    source_type = draw(st.sampled_from(FLOATS)) if is_float else target_type
    values = torch.randn(source_shape, generator=generator, dtype=torch.float64) * 10 ** draw(st.integers(-9, 6))
    scale = None
    if is_float and draw(st.booleans()):
        scale = torch.randn(shape[1], generator=generator) if dims >= 2 and draw(st.booleans()) else 0.37
    layouts = st.sampled_from(["plain", "gaps", "channels-last", "transposed"])
    source = laid_out(values.to(source_type), draw(layouts))
    destination = laid_out(torch.zeros(shape, dtype=target_type), draw(layouts))
    return destination, source, *maps, scale
