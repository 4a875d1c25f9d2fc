// OpenAI's client for Node on batchmill: a file of requests in, a file of answers out.
import { createReadStream } from "node:fs";
import { writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import OpenAI from "openai";

const client = new OpenAI({
  baseURL: `${process.env.BATCHMILL_BASE_URL ?? "http://127.0.0.1:8400"}/v1`,
  apiKey: process.env.BATCHMILL_API_KEY ?? "any",
});

const file = await client.files.create({ file: createReadStream(process.argv[2]), purpose: "batch" });
let batch = await client.batches.create({
  input_file_id: file.id,
  endpoint: "/v1/chat/completions",
  completion_window: "24h",
  metadata: { team: "blue" },
  priority: "high", // ours, if you like
});

while (["validating", "in_progress", "finalizing", "cancelling"].includes(batch.status)) {
  await sleep(500);
  batch = await client.batches.retrieve(batch.id);
}

if (batch.output_file_id) {
  const answers = await client.files.content(batch.output_file_id);
  await writeFile("answers.jsonl", answers.body);
}
console.log(`${batch.status}, $${batch.cost_usd}`);
