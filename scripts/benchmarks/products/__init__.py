"""Parts of `tensor_products.py`: the problem and its reference, who computes it, and how that is measured."""
