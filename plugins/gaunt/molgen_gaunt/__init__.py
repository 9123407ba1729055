"""Gaunt and Clebsch-Gordan tensor products as molgen components."""
