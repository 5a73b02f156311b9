from .aesa_net import AESANet as AESANet
from .audiobox import Audiobox as Audiobox
from .base import Head as Head
from .cross_attention import CrossAttention as CrossAttention
from .mlp import MLP as MLP
from .musiceval_baseline import MusicEvalBaseline as MusicEvalBaseline
from .ordinal import Ordinal as Ordinal
from .probe import Probe as Probe
