"""Models at rest and in use: checkpoints, the assembly of components, the names of registered models."""
