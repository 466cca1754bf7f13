"""How the change of outputs is measured: the same on every device, and nothing stays switched."""

import pytest
import torch
from tests.support.networks import images, trained_looking

from spnas_core import Architecture, materialise
from spnas_core.inheritance import ChannelMaps, calibrate_pass_through, norm_scales, output_change, plan_inheritance
from spnas_core.inheritance.plan import tensor_shapes
from spnas_core.morphisms import Widen

WIDE = Architecture.parse("b@64_11-21")


@pytest.fixture(params=[(True, "high"), (True, "medium"), (False, "highest")])
def switched(request):
    """What a user, or another library, has asked for."""
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = request.param[0]
    torch.set_float32_matmul_precision(request.param[1])
    yield request.param
    torch.backends.cudnn.allow_tf32 = before[0]
    torch.set_float32_matmul_precision(before[1])


def asked() -> tuple[bool, str]:
    return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()


@pytest.mark.parametrize("fails", [False, True])
def test_products_are_whole_while_a_change_is_measured_and_as_before_afterwards(switched, fails):
    seen = []

    def features(batch):
        seen.append(asked())
        if fails:
            raise RuntimeError("of its own")
        return {"s1": batch}

    if fails:
        with pytest.raises(RuntimeError, match="of its own"):
            output_change(features, features, images(0))
    else:
        assert output_change(features, features, images(0)) == {"s1": 0.0}
    assert set(seen) == {(False, "highest")}
    assert asked() == switched


@pytest.mark.gpu
def test_a_wider_network_keeps_its_promise_where_products_may_be_shortened(switched):
    parent = trained_looking(WIDE, 0)
    rewrite = Widen().double(WIDE, 0)
    maps = ChannelMaps(rewrite, 0, norm_scales(parent.state_dict()))
    child, _ = materialise(rewrite, parent.state_dict(), generator=torch.Generator().manual_seed(1))
    plan = plan_inheritance(rewrite, tensor_shapes(child), tensor_shapes(parent), maps)
    calibrate_pass_through(child, plan.pass_through_norms, images(0, 4))
    before, after = parent.eval().to("cuda"), child.eval().to("cuda")
    change = output_change(before, after, images(0).to("cuda"), maps)
    assert max(change.values()) <= rewrite.promise
