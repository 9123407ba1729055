"""Parts that plugins share: moving features along edges, radial bases, envelopes, codecs of discrete parts."""

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
