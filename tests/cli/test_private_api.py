"""The private attributes that the command line leans on are still there; where not, the message names the library."""

import pytest

from lightning_aqa.cli.private_api import ATTRIBUTES

NAMES = [
    (library, owner, name)
    for library, owners in ATTRIBUTES.items()
    for owner, names in owners.items()
    for name in names
]


@pytest.mark.parametrize(("library", "owner", "name"), NAMES)
def test_a_private_attribute_is_there(library, owner, name):
    found = owner() if library == "jsonargparse" else owner
    assert hasattr(found, name), (
        f"{library} changed: {owner.__name__} has no {name}; see lightning_aqa/cli/private_api.py"
    )
