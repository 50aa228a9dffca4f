"""The kernels: each op has a plain-torch twin in `naive`. Knows tensors and nothing above them."""

from infill_kernels.naive import RowStatistics, row_statistics

__all__ = ["RowStatistics", "row_statistics"]
