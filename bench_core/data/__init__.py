"""Labelled data sets for a search: opened by name or folder, in a seeded and balanced order.

`load` is what to call; `from_arrays` takes a user's own arrays. A `DataRecipe` is the same as plain
data, for workers elsewhere. Everything else gives batches of inputs by their positions.
"""

from bench_core.data.arrays import from_arrays, load_npz
from bench_core.data.checks import checked
from bench_core.data.dataset import Dataset, Inputs, Labels, SearchData
from bench_core.data.digits import load_digit_vectors, load_digits
from bench_core.data.docstrings import load_docstrings
from bench_core.data.errors import DataError
from bench_core.data.image_folder import ImageFolder, load_image_folder
from bench_core.data.imdb import load_imdb
from bench_core.data.in_memory import Images, Tokens, Vectors
from bench_core.data.loader import batches
from bench_core.data.pixels import Pixels
from bench_core.data.recipe import EMBEDDED, DataRecipe, load
from bench_core.data.subset import ALL, Subset, balanced_order, stratified_split
from bench_core.data.vectors import load_vectors

__all__ = [
    "ALL",
    "EMBEDDED",
    "DataError",
    "DataRecipe",
    "Dataset",
    "ImageFolder",
    "Images",
    "Inputs",
    "Labels",
    "Pixels",
    "SearchData",
    "Subset",
    "Tokens",
    "Vectors",
    "balanced_order",
    "batches",
    "checked",
    "from_arrays",
    "load",
    "load_digit_vectors",
    "load_digits",
    "load_docstrings",
    "load_image_folder",
    "load_imdb",
    "load_npz",
    "load_vectors",
    "stratified_split",
]
