"""Limits on what is sent: requests and tokens per minute, in one process or shared over Redis."""

from .concurrency import AdaptiveConcurrency, ConcurrencySlot
from .errors import CostTooLarge, LimiterUnavailable
from .events import RedisEvent, RedisLost, RedisRecovered
from .headers import Quota, RateLimitHeaders, parse_headers
from .limiter import Limiter
from .rate import Rate
from .reservation import Reservation
from .statistics import LimiterStatistics

__all__ = [
    "AdaptiveConcurrency",
    "ConcurrencySlot",
    "CostTooLarge",
    "Limiter",
    "LimiterStatistics",
    "LimiterUnavailable",
    "Quota",
    "Rate",
    "RateLimitHeaders",
    "RedisEvent",
    "RedisLost",
    "RedisRecovered",
    "Reservation",
    "parse_headers",
]
