"""One turn by OpenAI's Agents SDK: `responses` (its default), `responses-stream`, `chat`.

OPENAI_AGENTS_DISABLE_TRACING=1 keeps it from sending traces, and the key, to OpenAI's own host.
"""

import asyncio
import sys

from agents import Agent, Runner, function_tool, set_default_openai_api


@function_tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"sunny in {city}"


def agent() -> Agent:
    return Agent(name="tester", instructions="Be short.", model="gpt-4o-mini", tools=[weather])


async def turn(way: str) -> str:
    if way == "chat":
        set_default_openai_api("chat_completions")
    if way == "responses-stream":
        result = Runner.run_streamed(agent(), "hello")
        async for _event in result.stream_events():
            pass
        return str(result.final_output)
    return str((await Runner.run(agent(), "hello")).final_output)


print(asyncio.run(turn(sys.argv[1])))
