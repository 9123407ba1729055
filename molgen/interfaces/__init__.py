"""The four contracts that plugins fill, and the small types that they speak."""

from molgen.interfaces.denoising import Denoised as Denoised
from molgen.interfaces.denoising import Noisy as Noisy
from molgen.interfaces.encoder import EdgeSpec as EdgeSpec
from molgen.interfaces.encoder import Encoder as Encoder
from molgen.interfaces.encoder import EncoderBuilder as EncoderBuilder
from molgen.interfaces.encoder import Features as Features
from molgen.interfaces.encoder import check_inputs as check_inputs
from molgen.interfaces.head import Head as Head
from molgen.interfaces.sampler import Codec as Codec
from molgen.interfaces.sampler import Process as Process
from molgen.interfaces.sampler import Request as Request
from molgen.interfaces.sampler import Sampler as Sampler
from molgen.interfaces.sampler import Schema as Schema
from molgen.interfaces.sampler import State as State
from molgen.interfaces.tensor_product import TensorProduct as TensorProduct
