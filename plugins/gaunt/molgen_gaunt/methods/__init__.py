"""Ways to compute one trilinear form: each module is one, chosen by `method`."""
