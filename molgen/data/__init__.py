"""Data: readers of what people have, the memory-mapped cache, splits and batches."""

from molgen.data.batches import Buckets as Buckets
from molgen.data.batches import every_batch as every_batch
from molgen.data.cache import Cache as Cache
from molgen.data.cache import write_cache as write_cache
from molgen.data.labelled import LabelKey as LabelKey
from molgen.data.labelled import Labelled as Labelled
from molgen.data.labelled import read_labelled as read_labelled
from molgen.data.layout import CacheDocument as CacheDocument
from molgen.data.layout import Source as Source
from molgen.data.memory import MemoryDataset as MemoryDataset
from molgen.data.readers import iterate as iterate
from molgen.data.readers import read as read
from molgen.data.smiles_bonds import bonds_from_smiles as bonds_from_smiles
from molgen.data.smiles_bonds import read_smiles as read_smiles
from molgen.data.smiles_bonds import with_smiles as with_smiles
from molgen.data.splits import split as split
from molgen.data.summary import Summary as Summary
from molgen.data.summary import summarise as summarise

__all__ = [
    "Buckets",
    "Cache",
    "CacheDocument",
    "LabelKey",
    "Labelled",
    "MemoryDataset",
    "Source",
    "Summary",
    "bonds_from_smiles",
    "every_batch",
    "iterate",
    "read",
    "read_labelled",
    "read_smiles",
    "split",
    "summarise",
    "with_smiles",
    "write_cache",
]
