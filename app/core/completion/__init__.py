"""A completion of OpenAI's chat API: the request, the answer, and everything that upstreams send instead of it.

One reader serves the streamed answer, the whole answer and the run:

    bytes ──Body──▶ pieces ──Answer──▶ outcome, usage ──┬─▶ chunks (a stream, a run)
                                                        └─▶ Gathered ──▶ one `chat.completion` (a whole answer)

- `Body` turns bytes into pieces. The content type decides how: an event stream, or one JSON text. If it is
  missing or wrong, the first bytes decide. `Body` skips noise: comments, empty data, pings.
- A piece is a chunk, a whole `chat.completion`, or the end (`[DONE]`). Its text stays as the upstream sent it. If
  that text is not valid JSON, it is written again without `NaN`, `Infinity` and lone surrogates.
- `Answer` looks at each piece. It decides whether the answer is complete, failed or cut off, and counts its tokens.
- `forms` turns one form into the other. So a client gets the form that it asked for, whatever the upstream sent.
- `Snapshot` merges the chunks of a run so far into one, for a viewer who comes late.
- `failure` finds the reason in every shape of error that upstreams use, and states it in OpenAI's shape.
- `usage` reads token counts in every shape, and estimates them if the upstream sends none.
- `Forwarded` is a request that is not a chat. The request and its answer pass unchanged. `form` finds its fields, and
  `Meter` counts the tokens of the answer.

An answer is complete when the upstream marks its end: by `[DONE]`, or by a finish reason for each choice. The end of
the connection alone proves nothing. Text that came with status 200 is paid for, so Belfry does not request it again.

This package does not know how bytes travel, what time it is, or where chunks are kept. Unknown fields pass through in
both directions.
"""

from __future__ import annotations

from .answer import Answer
from .body import Body
from .failure import openai_error
from .forms import Gathered, Transcript
from .forwarded import Forwarded, parse_forwarded
from .meter import Meter
from .pieces import DONE, Piece
from .question import LAST, Question, parse_question, parse_title
from .request import MODEL_MAX_CHARS, TITLE_MAX_CHARS, CompletionRequest, check_run_id, finite_json, parse
from .usage import USAGE_MAX_CHARS, Usage, kept_usage, tokens_of

__all__ = [
    "DONE",
    "LAST",
    "MODEL_MAX_CHARS",
    "TITLE_MAX_CHARS",
    "USAGE_MAX_CHARS",
    "Answer",
    "Body",
    "CompletionRequest",
    "Forwarded",
    "Gathered",
    "Meter",
    "Piece",
    "Question",
    "Transcript",
    "Usage",
    "check_run_id",
    "finite_json",
    "kept_usage",
    "openai_error",
    "parse",
    "parse_forwarded",
    "parse_question",
    "parse_title",
    "tokens_of",
]
