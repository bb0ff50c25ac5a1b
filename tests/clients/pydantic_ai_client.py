"""pydantic-ai: prints what its user sees."""
import asyncio
import sys
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

url, case = sys.argv[1:]
client = AsyncOpenAI(base_url=url, api_key="any")
model = OpenAIResponsesModel("m", provider=OpenAIProvider(openai_client=client))


class Place(BaseModel):
    city: str


async def main():
    agent = Agent(model, output_type=NativeOutput(Place) if case == "schema" else str)
    if case == "tool":
        @agent.tool_plain
        def get_weather(city: str) -> str:
            """The weather."""
            assert city == "Oslo"
            return "sunny"
    if case == "stream":
        async with agent.run_stream("hi") as result:
            output = await result.get_output()
    else:
        output = (await agent.run("hi")).output
    print(output.city if case == "schema" else output)


asyncio.run(main())
