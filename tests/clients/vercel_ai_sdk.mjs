// The Vercel AI SDK: prints what its user sees.
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [url, kind] = process.argv.slice(2);
const model = createOpenAI({ baseURL: url, apiKey: "any" }).responses("m");
const place = z.object({ city: z.string() });
if (kind === "plain") {
  console.log((await generateText({ model, prompt: "hi" })).text);
} else if (kind === "stream") {
  let text = "";
  for await (const piece of streamText({ model, prompt: "hi" }).textStream) text += piece;
  console.log(text);
} else if (kind === "tool") {
  const get_weather = tool({ description: "The weather.", inputSchema: place, execute: async () => "sunny" });
  const stopWhen = stepCountIs(3);
  console.log((await generateText({ model, prompt: "weather?", tools: { get_weather }, stopWhen })).text);
} else {
  const output = Output.object({ schema: place });
  console.log((await generateText({ model, prompt: "where?", output })).output.city);
}
