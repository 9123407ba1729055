"""Potentials that are measured side by side, each in a process and an environment of its own.

Whatever a driver imports (`serving` and the drivers themselves) needs torch, numpy and the measured package alone.
"""
