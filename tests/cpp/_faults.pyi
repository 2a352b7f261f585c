# SPDX-License-Identifier: Apache-2.0
def inject(
    call: str,
    error: int = 0,
    at_most: int = -1,
    after: int = 0,
    times: int = 1,
    signal: int = 0,
) -> None: ...
def clear() -> None: ...
def count(call: str, /) -> int: ...
