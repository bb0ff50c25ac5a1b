// openai-node: prints what its user sees.
import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const [url, kind] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url, apiKey: "any" });
const tools = [{
  type: "function", name: "get_weather", description: "The weather.", strict: true,
  parameters: {
    type: "object", properties: { city: { type: "string" } }, required: ["city"],
    additionalProperties: false,
  },
}];
if (kind === "plain") {
  console.log((await client.responses.create({ model: "m", input: "hi" })).output_text);
} else if (kind === "stream") {
  const stream = client.responses.stream({ model: "m", input: "hi" });
  let text = "";
  for await (const event of stream) if (event.type === "response.output_text.delta") text += event.delta;
  console.log((await stream.finalResponse()).output_text === text ? text : "two texts");
} else if (kind === "tool") {
  const input = [{ role: "user", content: "weather?" }];
  const first = await client.responses.create({ model: "m", input, tools });
  const call = first.output.find((item) => item.type === "function_call");
  if (call.name !== "get_weather" || call.arguments !== '{"city":"Oslo"}') throw new Error(JSON.stringify(call));
  input.push(...first.output, { type: "function_call_output", call_id: call.call_id, output: "sunny" });
  console.log((await client.responses.create({ model: "m", input, tools })).output_text);
} else {
  const format = zodTextFormat(z.object({ city: z.string() }), "place");
  const parsed = await client.responses.parse({ model: "m", input: "where?", text: { format } });
  console.log(parsed.output_parsed.city);
}
