"""openai-python: prints what its user sees."""
import sys
from openai import OpenAI
from pydantic import BaseModel

url, case = sys.argv[1:]
client = OpenAI(base_url=url, api_key="any")


class Place(BaseModel):
    city: str


TOOL = {
    "type": "function", "name": "get_weather", "description": "The weather.", "strict": True,
    "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
        "additionalProperties": False,
    },
}
if case == "plain":
    print(client.responses.create(model="m", input="hi").output_text)
elif case == "stream":
    with client.responses.stream(model="m", input="hi") as stream:
        text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
        assert stream.get_final_response().output_text == text
    print(text)
elif case == "tool":
    items = [{"role": "user", "content": "weather?"}]
    first = client.responses.create(model="m", input=items, tools=[TOOL])
    call = next(item for item in first.output if item.type == "function_call")
    assert (call.name, call.arguments) == ("get_weather", '{"city":"Oslo"}'), call
    items += first.output
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "sunny"})
    print(client.responses.create(model="m", input=items, tools=[TOOL]).output_text)
elif case == "schema":
    print(client.responses.parse(model="m", input="where?", text_format=Place).output_parsed.city)
