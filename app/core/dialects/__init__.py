"""Other API formats in which clients request and read an answer, each translated from and to chat chunks.

- `responses_request` and `responses`: OpenAI's Responses API.
- `ui_messages`: the AI SDK's UI message stream, version 1.
- `blocks`: reads the blocks of Belfry's own streams, which both translate.

A translation is a pure function of the chunks: each reader of the same run gets the same events with the same
numbers.
"""
