"""What is known of Weights & Biases without its library."""

from lightning_aqa.utils.wandb import sync_hint


def test_the_hint_names_the_newest_offline_run(tmp_path):
    assert sync_hint(tmp_path) == ""
    for name in ("offline-run-20260101_000000-a", "offline-run-20260102_000000-b"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
    assert sync_hint(tmp_path).endswith(f"wandb sync {tmp_path / 'wandb' / 'offline-run-20260102_000000-b'}")
