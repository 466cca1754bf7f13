"""What the commands of all packages share; importing a module of it needs ``spnas-core[commands]``."""
