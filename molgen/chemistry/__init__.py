"""Molecules as chemists know them: bonds, valences, perception, and the metrics of generated sets."""

from molgen.chemistry.geometry import bond_lengths as bond_lengths
from molgen.chemistry.geometry import element_counts as element_counts
from molgen.chemistry.geometry import size_counts as size_counts
from molgen.chemistry.intervals import Metric as Metric
from molgen.chemistry.metrics import METRICS as METRICS
from molgen.chemistry.metrics import Metrics as Metrics
from molgen.chemistry.metrics import NamedMetric as NamedMetric
from molgen.chemistry.metrics import Reference as Reference
from molgen.chemistry.metrics import comparison_table as comparison_table
from molgen.chemistry.metrics import score as score
from molgen.chemistry.molecules import Molecules as Molecules
from molgen.chemistry.perception import Perceived as Perceived
from molgen.chemistry.perception import perceive as perceive
from molgen.chemistry.stability import D1 as D1
from molgen.chemistry.stability import d1 as d1
