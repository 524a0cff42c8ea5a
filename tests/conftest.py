import os
from pathlib import Path

import pytest


@pytest.fixture
def shared_data() -> Path:
    """Folder with the benchmark data sets: $WK_DATA, or shared/data beside the checkout."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("WK_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no benchmark data: set WK_DATA to their folder ({folder} does not exist)")
    return folder
