"""openai-python's ``Stream``, reading the feed as if it were a streamed answer.

It is made for one answer to one request: it retries until the answer begins, and has no position to
go on from.  So it cannot survive what happens once messages have come.
"""

import sys
from urllib.parse import urlsplit

import httpx
import openai

url = urlsplit(sys.argv[1])
client = openai.OpenAI(
    api_key="none",
    base_url=f"{url.scheme}://{url.netloc}",
    max_retries=10,
    timeout=httpx.Timeout(1),
)
stream = client.get(
    f"{url.path}?{url.query}",
    cast_to=object,
    stream=True,
    stream_cls=openai.Stream[object],
)
for message in stream:
    if message.get("end"):
        sys.exit(0)
    print(message["id"], flush=True)
sys.exit(1)
