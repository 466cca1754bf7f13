"""Evaluations as Ray tasks, on the nodes of a cluster or of one that begins and ends with the search.

What a node gets and gives, since it need not share a disk with the search:

- *Code*: nothing is sent. Every worker compares versions and digests of the packages with the search's; a node that
  differs, or lacks them, ends the run by an error that names it (``node.py``).
- *Task*: pickled, once into the object store. Where its cached data does not lie on the node, one process there
  prepares it, under a lock and into the node's own folder; the fingerprint of its data must be the search's
  (``node_task.py``).
- *Weights to inherit*: a file's bytes go into the object store once, and once per node into a file that is called by
  their checksum; each evaluation has a hard link of its own (``parcels.py``).
- *Trained weights*: bytes and checksum come back with the outcome and are written where the request wants them; only
  the accepted attempt's do, so that a node that was given up cannot interfere.
- *Progress*: through a small actor beside the search, ``mailbox.py``. What an evaluation has reported arrives before
  its outcome.

A lost node or worker is no candidate's fault: the evaluation is tried again, elsewhere where there is an elsewhere, and
after ``retries`` of that the candidate fails (``losses.py``). Ray itself tries nothing again.

Ray is imported when an executor is entered, and nowhere before.
"""
