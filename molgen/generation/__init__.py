"""Generation: request, sampler, perception, scores, files."""

from molgen.generation.generated import GeneratedMolecules as GeneratedMolecules
from molgen.generation.generator import Generator as Generator
from molgen.generation.generator import load as load
from molgen.generation.run import GenerationInterrupted as GenerationInterrupted

__all__ = ["GeneratedMolecules", "GenerationInterrupted", "Generator", "load"]
