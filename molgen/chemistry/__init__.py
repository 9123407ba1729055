"""Molecules as chemists know them: bonds, valences, perception, and the metrics of generated sets."""

from molgen.chemistry.stability import D1 as D1
from molgen.chemistry.stability import d1 as d1
