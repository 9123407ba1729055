"""Data: readers of what people have, the memory-mapped cache, splits and batches."""
