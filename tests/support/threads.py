"""How many threads torch has in the tests and in the processes that they start, which must get the same bits."""

import os

THREADS = int(os.environ.get("SPNAS_TEST_THREADS", "1"))
"""One, unless the environment asks for more: the networks are small, and worker processes share the machine."""
