"""What the benchmarks of accuracy share: frames dealt to files, trainings pinned to a core, MACE beside them, rows."""
