"""What an architecture costs, counted exactly and without building it."""

from spnas_core.cost.analytic import Cost, StageCost, backbone_cost, chain_multiply_adds, row_costs
from spnas_core.cost.latency import Latency, latency_device, measure_latencies, measure_latency

__all__ = [
    "Cost",
    "Latency",
    "StageCost",
    "backbone_cost",
    "chain_multiply_adds",
    "latency_device",
    "measure_latencies",
    "measure_latency",
    "row_costs",
]
