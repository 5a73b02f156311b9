from .batch import Axis as Axis
from .batch import Batch as Batch
from .batch import Features as Features
from .batch import Output as Output
from .encoders.base import Encoder as Encoder
from .heads.base import Head as Head
from .module import AQAModule as AQAModule
from .objectives.base import Objective as Objective
from .scoring.load import load as load
from .scoring.scorer import Scorer as Scorer

__version__: str
