"""What every family promises, and what this package promises of itself."""

import pytest
import zoo_classics

from zoo.testing import check_family

FAMILIES = {spec.name: spec for spec in zoo_classics.zoo_models()}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_obeys_the_laws(family: str) -> None:
    check_family(FAMILIES[family])
