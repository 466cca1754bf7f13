"""The commands of ``spnas study``, one for each kind of study."""
