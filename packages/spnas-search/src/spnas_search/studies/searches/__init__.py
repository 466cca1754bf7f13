"""Searches against each other: several strategies, several seeds, equal budgets, judged by trainings from scratch.

Yu et al., "Evaluating the Search Phase of Neural Architecture Search", ICLR 2020: what a search finds is compared with
codes that are sampled at random, and its own order of codes with that of independent trainings.
"""
