"""Powers of equivariant features, and products of several, that stay on the sphere between the factors."""

from molgen_gaunt.many_body.product import ManyBodyProduct as ManyBodyProduct
from molgen_gaunt.many_body.product import mean_squares as mean_squares
