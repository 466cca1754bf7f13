"""Strategies that learn what to propose from all that was scored: policies by reinforcement, and tables of values.

``generation.py`` and ``edits.py`` are the grammars of what they choose, ``lessons.py`` what the archive tells them,
``controllers.py`` and ``policy_gradient.py`` the policies, ``q_table.py`` the table.
"""
