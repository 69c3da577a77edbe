"""Let Python collect garbage more seldom. Each Python process reads this file if its folder is in PYTHONPATH (see site in Python's documentation).

Ansible holds so many objects that looking for garbage takes a sixth of the processor time of its control node.
"""

import gc

gc.set_threshold(100_000, 50, 50)
