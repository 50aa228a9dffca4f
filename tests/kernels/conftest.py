"""Kernels run under Triton's interpreter here, and on the device where there is one.

Triton decides when it is imported whether it interprets, and transformers imports it. So without
a GPU the folder `interpreted` is left to `test_interpreted.py`, which gives each of its files a
process of its own.
"""

import os

import torch

ON_DEVICE = torch.cuda.is_available()
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
collect_ignore = [] if ON_DEVICE or INTERPRETED else ["interpreted"]
