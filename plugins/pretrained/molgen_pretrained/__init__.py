"""Trained models as a molgen plugin."""
