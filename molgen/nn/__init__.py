"""Parts that plugins share: moving features along edges, turning them, harmonics, radial bases, codecs."""

from molgen.nn.centering import centre as centre
from molgen.nn.centering import mean_over_atoms as mean_over_atoms
from molgen.nn.codecs import GaussianCodec as GaussianCodec
from molgen.nn.codecs import MaskedCodec as MaskedCodec
from molgen.nn.message_passing import add_receivers as add_receivers
from molgen.nn.message_passing import gather_receivers as gather_receivers
from molgen.nn.message_passing import gather_senders as gather_senders
from molgen.nn.message_passing import sum_to_receivers as sum_to_receivers
from molgen.nn.message_passing import weighted_sum_to_receivers as weighted_sum_to_receivers
from molgen.nn.radial import BesselBasis as BesselBasis
from molgen.nn.radial import ExponentialBasis as ExponentialBasis
from molgen.nn.radial import LogarithmicBasis as LogarithmicBasis
from molgen.nn.radial import polynomial_envelope as polynomial_envelope
from molgen.nn.rotations import WignerD as WignerD
from molgen.nn.rotations import edge_frames as edge_frames
from molgen.nn.rotations import rotate as rotate
from molgen.nn.rotations import rotate_back as rotate_back
from molgen.nn.rotations import shortest_rotations as shortest_rotations
from molgen.nn.spherical_harmonics import SphericalHarmonics as SphericalHarmonics
from molgen.nn.spherical_harmonics import unit_components as unit_components
