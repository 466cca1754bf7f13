"""What an architecture costs, counted exactly and without building it."""

from spnas_core.cost.analytic import Cost, StageCost, backbone_cost, row_costs

__all__ = ["Cost", "StageCost", "backbone_cost", "row_costs"]
