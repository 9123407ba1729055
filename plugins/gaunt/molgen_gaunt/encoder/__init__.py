"""The encoder `gaunt`: message passing whose products are products of functions on the sphere."""

from molgen_gaunt.encoder.config import GauntEncoderConfig as GauntEncoderConfig
from molgen_gaunt.encoder.network import GauntEncoder as GauntEncoder
