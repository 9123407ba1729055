"""Diffusion samplers as molgen plugins."""
