"""Keep a frozen encoder's features on disk, so that each window is encoded once and not once per epoch."""

from lightning_aqa.cache.callback import FeatureCache
from lightning_aqa.cache.key import fingerprint
from lightning_aqa.cache.store import FeatureStore

__all__ = ["FeatureCache", "FeatureStore", "fingerprint"]
