"""Spherical channel networks as molgen encoders: SCN, and eSCN, its exactly equivariant form."""
