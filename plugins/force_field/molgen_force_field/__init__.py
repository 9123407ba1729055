"""Heads of molgen potentials: what is read out of an encoder's features."""
