"""What a user fixes of molecules that are yet to be drawn: composition, a substructure, a function to make small."""

from molgen.generation.control.composition import Composition as Composition
from molgen.generation.control.controls import Controls as Controls
from molgen.generation.control.guidance import Guide as Guide
from molgen.generation.control.reading import controlled_sizes as controlled_sizes
from molgen.generation.control.reading import read_controls as read_controls
from molgen.generation.control.scaffold import Scaffold as Scaffold
