"""TinyTrain's choice on the PC: what it refuses."""

import pytest
import toys
from trimtab_tools.errors import UsageError
from trimtab_tools.lab import tinytrain


@pytest.mark.parametrize("label", [4, -1])
def test_labels_are_classes_of_the_head(label):
    x = (toys.digits().train[0, 0] ^ 128).view("i1").ravel()
    with pytest.raises(UsageError, match="not one of the head's 4 classes: give --labels or --classes"):
        tinytrain.choice(toys.reader(), [(x, 0), (x, label)], 20000, classes=4)
