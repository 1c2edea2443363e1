"""One BLAS thread: small references, in which more of them would only wait for one another."""

import pytest
import threadpoolctl


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """Limit NumPy's, SciPy's and scikit-learn's threads in the tests of this folder."""
    with threadpoolctl.threadpool_limits(1):
        yield
