"""openai-agents: prints what its user sees."""
import asyncio
import sys
from agents import Agent, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI
from pydantic import BaseModel

url, case = sys.argv[1:]
set_tracing_disabled(True)
model = OpenAIResponsesModel(model="m", openai_client=AsyncOpenAI(base_url=url, api_key="any"))


class Place(BaseModel):
    city: str


@function_tool
def get_weather(city: str) -> str:
    """The weather."""
    assert city == "Oslo"
    return "sunny"


async def main():
    extra = {"tool": {"tools": [get_weather]}, "schema": {"output_type": Place}}.get(case, {})
    agent = Agent(name="Assistant", model=model, **extra)
    if case == "stream":
        result = Runner.run_streamed(agent, "hi")
        async for _ in result.stream_events():
            pass
    else:
        result = await Runner.run(agent, "hi")
    print(result.final_output.city if case == "schema" else result.final_output)


asyncio.run(main())
