"""Training: one loop for every task, on Lightning Fabric."""

from molgen.training.config import TrainingConfig as TrainingConfig
from molgen.training.config import parse_override as parse_override
from molgen.training.config import read_config as read_config
from molgen.training.objective import Objective as Objective
from molgen.training.run import train as train
