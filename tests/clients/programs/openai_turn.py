"""One turn by the official Python SDK: `chat`, `chat-stream`, `responses`, `responses-stream`."""

import sys

from openai import OpenAI

client = OpenAI()
MODEL = "gpt-4o-mini"
QUESTION = [{"role": "user", "content": "hello"}]


def chat() -> str:
    return client.chat.completions.create(model=MODEL, messages=QUESTION).choices[0].message.content


def chat_stream() -> str:
    chunks = client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True)
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def responses() -> str:
    return client.responses.create(model=MODEL, input="hello").output_text


def responses_stream() -> str:
    with client.responses.stream(model=MODEL, input="hello") as stream:
        return stream.get_final_response().output_text


TURNS = {
    "chat": chat,
    "chat-stream": chat_stream,
    "responses": responses,
    "responses-stream": responses_stream,
}
print(TURNS[sys.argv[1]]())
