"""Chat with OpenAI-compatible endpoints: streamed answers that say truly how they ended.

:class:`moored.chat.Client` asks; :class:`moored.chat.Reply` is the answer as it comes.
"""

from .answer import Answer, Choice, ToolCall
from .breaker import CircuitBreaker, CircuitState
from .budget import Budget
from .client import Client
from .cost import Cost
from .endpoint import Capabilities, Endpoint
from .errors import (
    AnswerRestarted,
    BudgetExceeded,
    BudgetUnavailable,
    ChatError,
    ConnectionFailed,
    ConnectTimeout,
    FirstTokenTimeout,
    LivenessTimeout,
    MalformedChunk,
    NoHealthyEndpoint,
    NoSuitableModel,
    NotResumed,
    PriceUnknown,
    ProgressTimeout,
    ProviderStreamError,
    ReplyError,
    RequestRejected,
    StreamTruncated,
    TimeoutExceeded,
    TotalTimeout,
)
from .events import (
    ChatEvent,
    Continued,
    Finished,
    Other,
    Reasoning,
    Refusal,
    Restarted,
    Resumed,
    Text,
    ToolCallDelta,
    UsageReported,
)
from .failover import EndpointChoice, EndpointStatistics, Failover
from .needs import Needs
from .prices import Price, Prices
from .reply import Reply, Texts
from .request import Message
from .router import Explanation, Route, Router, RuleOutcome
from .rules import RouteRequest, Rule, When
from .settings import Settings
from .tokens import CharacterCounter, TiktokenCounter, TokenCounter, default_counter
from .usage import Usage

__all__ = [
    "Answer",
    "AnswerRestarted",
    "Budget",
    "BudgetExceeded",
    "BudgetUnavailable",
    "Capabilities",
    "CharacterCounter",
    "ChatError",
    "ChatEvent",
    "Choice",
    "CircuitBreaker",
    "CircuitState",
    "Client",
    "ConnectTimeout",
    "ConnectionFailed",
    "Continued",
    "Cost",
    "Endpoint",
    "EndpointChoice",
    "EndpointStatistics",
    "Explanation",
    "Failover",
    "Finished",
    "FirstTokenTimeout",
    "LivenessTimeout",
    "MalformedChunk",
    "Message",
    "Needs",
    "NoHealthyEndpoint",
    "NoSuitableModel",
    "NotResumed",
    "Other",
    "Price",
    "PriceUnknown",
    "Prices",
    "ProgressTimeout",
    "ProviderStreamError",
    "Reasoning",
    "Refusal",
    "Reply",
    "ReplyError",
    "RequestRejected",
    "Restarted",
    "Resumed",
    "Route",
    "RouteRequest",
    "Router",
    "Rule",
    "RuleOutcome",
    "Settings",
    "StreamTruncated",
    "Text",
    "Texts",
    "TiktokenCounter",
    "TimeoutExceeded",
    "TokenCounter",
    "ToolCall",
    "ToolCallDelta",
    "TotalTimeout",
    "Usage",
    "UsageReported",
    "When",
    "default_counter",
]
