"""The table of packages in docs/packages.md: each step of those that are installed."""

import pytest

from tests import packages


@pytest.mark.long
@pytest.mark.parametrize("package", packages.PACKAGES)
def test_each_step_works_or_its_failure_is_known(package, tmp_path):
    if not packages.versions(package):
        pytest.skip(f"needs the package {package}")
    failed = {
        step: reason
        for step, reason in zip(packages.STEPS, packages.outcomes(package, tmp_path), strict=False)
        if reason and step not in packages.KNOWN.get(package, ())
    }
    assert failed == {}
