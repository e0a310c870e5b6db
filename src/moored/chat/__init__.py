"""Chat with OpenAI-compatible endpoints: streamed answers that say truly how they ended."""
