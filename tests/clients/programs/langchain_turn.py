"""One turn by LangChain: `chat`, `chat-stream`, `responses`, `embeddings`, `two-turns`."""

import sys

from langchain_openai import ChatOpenAI, OpenAIEmbeddings

MODEL = "gpt-4o-mini"


def chat() -> str:
    return ChatOpenAI(model=MODEL).invoke("hello").text


def chat_stream() -> str:
    return "".join(piece.text for piece in ChatOpenAI(model=MODEL).stream("hello"))


def responses() -> str:
    return ChatOpenAI(model=MODEL, use_responses_api=True).invoke("hello").text


def two_turns() -> str:
    model = ChatOpenAI(model=MODEL, use_responses_api=True, store=False)
    first = model.invoke("hello")
    return model.invoke([("user", "hello"), first, ("user", "and again")]).text


def embeddings() -> str:
    # Else it counts tokens first, with a vocabulary that it fetches from elsewhere.
    unchecked = OpenAIEmbeddings(model="text-embedding-3-small", check_embedding_ctx_length=False)
    vectors = unchecked.embed_documents(["hello", "again"])
    return f"{len(vectors)} vectors"


TURNS = {
    "chat": chat,
    "chat-stream": chat_stream,
    "responses": responses,
    "two-turns": two_turns,
    "embeddings": embeddings,
}
print(TURNS[sys.argv[1]]())
