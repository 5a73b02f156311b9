"""Published models by name: on this machine, in the hub's cache, or on the hub; and their way to the hub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_aqa.results.files import CARD, CHECKSUMS, INTERVALS, MEMBERS, MODEL_WEIGHTS, PUBLISHED, RESULTS, TRAINED
from lightning_aqa.scoring.published import ENCODERS, is_published, read_checksums
from lightning_aqa.utils.weights import HUB_SECONDS, is_hub_id, split_revision

PATTERNS = [CHECKSUMS, PUBLISHED, MODEL_WEIGHTS, RESULTS, INTERVALS, TRAINED, f"{ENCODERS}/*", f"{MEMBERS}/*"]
"""Files that are fetched of a repository, besides its card."""
CONFIGS = (".yaml", ".yml")


def find_published_model(source: str | os.PathLike[str]) -> Path | None:
    """Return the folder of a published model; None where a name stands for something else.

    Looked for, in this order: the folder itself; a hub id in the hub's cache; and, only if it is not whole there, and
    ``HF_HUB_OFFLINE`` is not set, on the hub. A name of which the first part is a folder here is not asked for.

    Args:
        source: Folder, or hub id, with ``@`` and a revision where wanted: a branch, tag or commit.

    Raises:
        ValueError: If a hub id is nowhere, or not a published model.
    """
    path, name = Path(source), os.fspath(source)
    if path.is_dir():
        return path if is_published(path) else None
    if path.exists() or not is_hub_id(name) or name.endswith(CONFIGS):
        return None
    repository, revision = split_revision(name)
    cached = _snapshot(repository, revision, is_local=True)
    if cached is not None and _is_whole(cached):
        return cached
    if path.parent.is_dir() and revision is None and cached is None:
        return None
    with _told(name):
        _ask(repository, revision)
        return _snapshot(repository, revision, is_local=False)


def _snapshot(repository: str, revision: str | None, *, is_local: bool) -> Path | None:
    """Return the folder of a repository in the cache, fetched into it where that is wanted; None where it is not."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        found = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=[*PATTERNS, CARD],
            local_files_only=is_local,
            etag_timeout=HUB_SECONDS,
        )
    except (HFValidationError, LocalEntryNotFoundError):
        if is_local:
            return None
        raise
    return Path(str(found))


def _is_whole(folder: Path) -> bool:
    """Tell whether a download has come to its end; what is damaged is told where it is read."""
    if not (folder / CHECKSUMS).is_file():
        return False
    try:
        return all((folder / name).exists() for name in read_checksums(folder))
    except ValueError:
        return True


def _ask(repository: str, revision: str | None) -> None:
    """Ask the hub once whether it has a published model; a download that fails is tried again for half a minute."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    try:
        get_hf_file_metadata(hf_hub_url(repository, CHECKSUMS, revision=revision), timeout=HUB_SECONDS)
    except EntryNotFoundError:
        raise ValueError(f"no model that `lightning-aqa publish` wrote, since it has no {CHECKSUMS}") from None


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Tell whatever the hub says as one line."""
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        yield
    except (HTTPError, OSError, ValueError) as error:
        raise ValueError(f"{name}: {_reason(error, name)}.") from error


def _reason(error: Exception, name: str) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.OfflineModeIsEnabled):
        return "neither a file or folder here nor in the hub's cache, and HF_HUB_OFFLINE keeps from asking the hub"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the hub has no revision {split_revision(name)[1] or 'main'} of it"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "neither a file or folder here, nor does the hub show such a model (a private one takes `hf auth login`)"
    if isinstance(error, errors.HfHubHTTPError):
        return f"the hub refused ({_line(error)})"
    if isinstance(error, ValueError):
        return _line(error)
    return f"neither a file or folder here, and the hub could not be reached ({_line(error)})"


def _line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200].rstrip(".")


@contextmanager
def _uploading(repository: str) -> Iterator[None]:
    """Tell as one line why nothing can be put on the hub, and how a folder of the name is written."""
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        yield
    except (HTTPError, OSError, ValueError) as error:
        hint = "" if type(error) is ValueError else "; `hf auth login` signs in to the hub"
        raise ValueError(f"--to={repository}: {_line(error)}{hint}; for a folder write --to=./{repository}.") from error


def check_owner(repository: str) -> None:
    """Refuse a hub id that is not below the name of who is signed in: it is rather meant as a folder.

    Raises:
        ValueError: If nobody is signed in, or the name is another one.
    """
    from huggingface_hub import HfApi, get_token

    owner = repository.split("/")[0]
    with _uploading(repository):
        if get_token() is None:
            raise ValueError("to the hub goes who is signed in to it, by `hf auth login`")
        known = HfApi().whoami()
        names = [known["name"], *(of["name"] for of in known.get("orgs", []))]
        if owner.lower() not in map(str.lower, names):
            raise ValueError(f"you are {', '.join(names)} on the hub, not {owner}")


def upload(folder: Path, repository: str, *, is_private: bool = False) -> str:
    """Put a published model on the hub.

    Args:
        folder: Its folder, which is whole.
        repository: Hub id.
        is_private: Whether a repository that is made for it is shown to its owner alone.

    Returns:
        The commit, by which this very model is found again.

    Raises:
        ValueError: If the hub refuses, or the repository holds something else.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    with _uploading(repository):
        there = api.list_repo_files(repository) if api.repo_exists(repository) else []
        if set(there) - {".gitattributes", CARD, "LICENSE"} and CHECKSUMS not in there:
            raise ValueError("there is such a repository, and it holds something else; name another")
        api.create_repo(repository, private=is_private, exist_ok=True)
        told = "A model of lightning_aqa"
        done = api.upload_folder(repo_id=repository, folder_path=folder, commit_message=told, delete_patterns=PATTERNS)
    return str(done.oid)
