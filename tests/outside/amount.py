"""How much is tried: a sample by default, `CARILLON_OUTSIDE_INPUTS=1000000` for a night.

The number is that of inputs per target. Every run of the sample draws the same ones, so that the suite is steady; a
long run draws anew, and prints how to repeat what it found.
"""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings

INPUTS = int(os.environ.get("CARILLON_OUTSIDE_INPUTS", "0"))
IS_LONG = INPUTS > 0


def tries(sample: int, share: float = 1.0, steps: int = 50) -> Callable[[Any], Any]:
    """`sample` inputs in the suite; in the long mode `INPUTS`, or a share of them where each is a request.

    `steps` is the length of each conversation.
    """
    count = max(sample, int(INPUTS * share)) if IS_LONG else sample
    return settings(
        max_examples=count,
        stateful_step_count=steps,
        deadline=None,
        derandomize=not IS_LONG,
        database=None,
        print_blob=True,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
    )
