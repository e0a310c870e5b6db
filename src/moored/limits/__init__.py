"""Limits on what is sent: requests and tokens per minute, in one process or shared over Redis."""

from .concurrency import AdaptiveConcurrency, ConcurrencySlot
from .errors import CostTooLarge, LimiterUnavailable
from .headers import Quota, RateLimitHeaders, parse_headers
from .limiter import Limiter, Reservation
from .rate import Rate
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
    "Reservation",
    "parse_headers",
]
