"""How a child comes to its weights: plan, receipt, materialisation from the meta device."""

from spnas_core.inheritance.calibration import calibrate_pass_through
from spnas_core.inheritance.channels import ChannelMaps, norm_scales
from spnas_core.inheritance.copying import WeightCopier, copy_weights_
from spnas_core.inheritance.initialisation import XAVIER_UNIFORM, ZEROS, Init, fill_
from spnas_core.inheritance.materialisation import fill_module, materialise
from spnas_core.inheritance.measurement import output_change
from spnas_core.inheritance.plan import (
    InheritancePlan,
    TensorCopy,
    TensorFill,
    fresh_plan,
    plan_by_name,
    plan_inheritance,
)
from spnas_core.inheritance.receipt import Receipt, write_receipt
from spnas_core.inheritance.routes import ChannelMap, Route

__all__ = [
    "XAVIER_UNIFORM",
    "ZEROS",
    "ChannelMap",
    "ChannelMaps",
    "InheritancePlan",
    "Init",
    "Receipt",
    "Route",
    "TensorCopy",
    "TensorFill",
    "WeightCopier",
    "calibrate_pass_through",
    "copy_weights_",
    "fill_",
    "fill_module",
    "fresh_plan",
    "materialise",
    "norm_scales",
    "output_change",
    "plan_by_name",
    "plan_inheritance",
    "write_receipt",
]
