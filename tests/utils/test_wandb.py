"""What is known of Weights & Biases without its library."""

from lightning_aqa.utils.wandb import run_id, sync_hint

FIRST, SECOND = "offline-run-20260101_000000-a", "offline-run-20260102_000000-b"


def test_the_hint_names_all_offline_runs_in_the_order_in_which_they_were_logged(tmp_path):
    assert sync_hint(tmp_path) == ""
    for name in (SECOND, FIRST, "run-20260103_000000-c"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
    assert sync_hint(tmp_path).endswith(f"wandb sync {tmp_path / 'wandb' / FIRST} {tmp_path / 'wandb' / SECOND}")


def test_a_run_folder_holds_the_run_that_was_logged_last_online_or_not(tmp_path):
    assert run_id(tmp_path) is None
    (tmp_path / "wandb" / SECOND).mkdir(parents=True)
    assert run_id(tmp_path) == "b"
    (tmp_path / "wandb" / "run-20260101_235959-c").mkdir()
    assert run_id(tmp_path) == "b"
    (tmp_path / "wandb" / "run-20260103_000000-d").mkdir()
    assert run_id(tmp_path) == "d"
