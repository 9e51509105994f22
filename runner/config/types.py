"""Types that knobs share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]
EnvValue = Annotated[str, Field(coerce_numbers_to_str=True)]
