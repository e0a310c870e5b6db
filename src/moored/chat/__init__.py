"""Chat with OpenAI-compatible endpoints: streamed answers that say truly how they ended.

:class:`Client` asks; :class:`Reply` is the answer as it comes.
"""

from .answer import Answer, Choice, ToolCall
from .client import Client
from .endpoint import Capabilities, Endpoint
from .errors import (
    AnswerRestarted,
    ChatError,
    ConnectionFailed,
    ConnectTimeout,
    FirstTokenTimeout,
    LivenessTimeout,
    MalformedChunk,
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
from .reply import Reply, Texts
from .request import Message
from .settings import Settings
from .usage import Usage

__all__ = [
    "Answer",
    "AnswerRestarted",
    "Capabilities",
    "ChatError",
    "ChatEvent",
    "Choice",
    "Client",
    "ConnectTimeout",
    "ConnectionFailed",
    "Continued",
    "Endpoint",
    "Finished",
    "FirstTokenTimeout",
    "LivenessTimeout",
    "MalformedChunk",
    "Message",
    "Other",
    "ProgressTimeout",
    "ProviderStreamError",
    "Reasoning",
    "Refusal",
    "Reply",
    "ReplyError",
    "RequestRejected",
    "Restarted",
    "Resumed",
    "Settings",
    "StreamTruncated",
    "Text",
    "Texts",
    "TimeoutExceeded",
    "ToolCall",
    "ToolCallDelta",
    "TotalTimeout",
    "Usage",
    "UsageReported",
]
