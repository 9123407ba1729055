"""EGNN as a molgen encoder."""
