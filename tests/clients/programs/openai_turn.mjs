// One turn by the official Node SDK: `chat`, `chat-stream`, `responses`, `responses-stream`.
import OpenAI from "openai";

const client = new OpenAI();
const model = "gpt-4o-mini";
const messages = [{ role: "user", content: "hello" }];

const turns = {
  async chat() {
    const answer = await client.chat.completions.create({ model, messages });
    return answer.choices[0].message.content;
  },
  async "chat-stream"() {
    const stream = client.chat.completions.stream({ model, messages });
    return stream.finalContent();
  },
  async responses() {
    return (await client.responses.create({ model, input: "hello" })).output_text;
  },
  async "responses-stream"() {
    const stream = client.responses.stream({ model, input: "hello" });
    return (await stream.finalResponse()).output_text;
  },
};

try {
  console.log(await turns[process.argv[2]]());
} catch (error) {
  console.error(`${error.constructor.name}: ${error.message}`);
  process.exitCode = 1;
}
