// One turn by Vercel's AI SDK: `generate`, `stream` (the default model, which speaks /v1/responses),
// `chat-generate`, `chat-stream` (`openai.chat`), and `two-turns`: a question, the answer, another
// question, with `store: false`, as the README recommends it.
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, streamText } from "ai";

const openai = createOpenAI({
  baseURL: process.env.OPENAI_BASE_URL,
  apiKey: process.env.OPENAI_API_KEY,
});
const name = "gpt-4o-mini";
const prompt = "hello";

async function streamed(model) {
  let failure;
  const answer = streamText({ model, prompt, onError: ({ error }) => (failure = error) });
  let text = "";
  for await (const piece of answer.textStream) text += piece;
  if (failure) throw failure;
  return text;
}

const turns = {
  generate: async () => (await generateText({ model: openai(name), prompt })).text,
  stream: () => streamed(openai(name)),
  "chat-generate": async () => (await generateText({ model: openai.chat(name), prompt })).text,
  "chat-stream": () => streamed(openai.chat(name)),
  async "two-turns"() {
    const question = { role: "user", content: prompt };
    const stateless = {
      model: openai(process.env.MODEL ?? name),
      providerOptions: { openai: { store: process.env.STORE === "true" } },
    };
    const first = await generateText({ ...stateless, messages: [question] });
    const messages = [question, ...first.response.messages, question];
    return (await generateText({ ...stateless, messages })).text;
  },
};

try {
  console.log(await turns[process.argv[2]]());
} catch (error) {
  console.error(`${error.name}: ${error.message}`);
  process.exitCode = 1;
}
