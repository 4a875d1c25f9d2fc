// OpenAI's client for Node against our service: `node scenarios.mjs NAME` plays one scenario, and throws where it is off.
import assert from "node:assert/strict";
import { createReadStream, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import OpenAI, { toFile } from "openai";

const CHAT = "/v1/chat/completions";
const ENDED = ["completed", "failed", "expired", "cancelled"];
const client = new OpenAI({ baseURL: process.env.SERVICE_URL, apiKey: "any" });
let asked = 0;

function line(customId, changes = {}) {
  const messages = [{ role: "user", content: `${process.pid} ${++asked}` }];
  const body = { model: "gpt-4o-mini", temperature: 0, messages, ...changes };
  return JSON.stringify({ custom_id: customId, method: "POST", url: CHAT, body });
}

async function upload(lines, name = "in.jsonl") {
  return client.files.create({ file: await toFile(Buffer.from(lines.join("\n")), name), purpose: "batch" });
}

async function submit(lines, options = {}) {
  const file = await upload(lines);
  return client.batches.create({ input_file_id: file.id, endpoint: CHAT, completion_window: "24h", ...options });
}

async function awaited(batch, until = ({ status }) => ENDED.includes(status)) {
  const deadline = Date.now() + 30_000;
  while (!until(batch)) {
    assert.ok(Date.now() < deadline, JSON.stringify(batch));
    await sleep(50);
    batch = await client.batches.retrieve(batch.id);
  }
  return batch;
}

async function linesOf(fileId) {
  const text = await (await client.files.content(fileId)).text();
  return text.trimEnd().split("\n").map((each) => JSON.parse(each));
}

async function stuck() {
  const hung = Array.from({ length: 3 }, (_, n) => line(`hung ${n}`, { model: "sandbox/hang" }));
  const fast = [line("fast 0"), line("fast 1")];
  return awaited(await submit([...fast, ...hung]), (batch) => batch.request_counts.completed === 2);
}

async function endedEarly(batch, status) {
  batch = await awaited(batch);
  assert.equal(batch.status, status);
  assert.ok(batch[`${status}_at`]);
  assert.deepEqual(batch.request_counts, { total: 5, completed: 2, failed: 3 });
  assert.deepEqual((await linesOf(batch.output_file_id)).map((each) => each.custom_id), ["fast 0", "fast 1"]);
  const rest = await linesOf(batch.error_file_id);
  assert.deepEqual(rest.map((each) => each.error.code), Array(3).fill(`batch_${status}`));
}

async function collect(pages) {
  const found = [];
  for await (const each of pages) found.push(each.id);
  assert.equal(new Set(found).size, found.length);
  return found;
}

const scenarios = {
  async "from upload to answers"() {
    writeFileSync("in.jsonl", [line("r0"), line("r1")].join("\n"));
    const file = await client.files.create({
      file: createReadStream("in.jsonl"),
      purpose: "batch",
      expires_after: { anchor: "created_at", seconds: 3600 },
    });
    assert.deepEqual([file.filename, file.expires_at - file.created_at], ["in.jsonl", 3600]);
    assert.equal((await client.files.waitForProcessing(file.id)).status, "processed");
    const made = await client.batches.create({
      input_file_id: file.id,
      endpoint: CHAT,
      completion_window: "24h",
      metadata: { team: "blue" },
      priority: "high",
    });
    assert.equal(made.status, "validating");
    const batch = await awaited(made);
    assert.deepEqual([batch.status, batch.metadata, batch.priority], ["completed", { team: "blue" }, "high"]);
    assert.deepEqual(batch.request_counts, { total: 2, completed: 2, failed: 0 });
    assert.equal(batch.usage.total_tokens, batch.usage.input_tokens + batch.usage.output_tokens);
    const answers = await linesOf(batch.output_file_id);
    assert.deepEqual(answers.map((each) => each.custom_id), ["r0", "r1"]);
    for (const { response, error } of answers) {
      assert.deepEqual([response.status_code, error], [200, null]);
      assert.ok(response.body.choices[0].message.content);
    }
  },

  async "pages of files and batches"() {
    const lines = [line("r0")];
    const files = [await upload(lines), await upload(lines), await upload(lines)].map((each) => each.id);
    assert.deepEqual((await collect(client.files.list({ limit: 2 }))).slice(0, 3), files.toReversed());
    assert.deepEqual((await collect(client.files.list({ limit: 2, order: "asc" }))).slice(-3), files);
    const batches = [await submit(lines), await submit(lines), await submit(lines)].map((each) => each.id);
    assert.deepEqual((await collect(client.batches.list({ limit: 2 }))).slice(0, 3), batches.toReversed());
    const page = await client.batches.list({ limit: 2 });
    assert.ok(page.hasNextPage());
    assert.equal((await page.getNextPage()).data[0].id, batches[0]);
  },

  async "content, in part, and gone"() {
    const content = Array.from({ length: 500 }, (_, n) => line(`r${n}`)).join("\n");
    const file = await upload([content]);
    assert.equal(await (await client.files.content(file.id)).text(), content);
    let streamed = "";
    for await (const chunk of (await client.files.content(file.id)).body) streamed += Buffer.from(chunk);
    assert.equal(streamed, content);
    const part = await client.files.content(file.id, { headers: { Range: "bytes=5-14" } });
    assert.deepEqual([part.status, await part.text()], [206, content.slice(5, 15)]);
    assert.equal((await client.files.delete(file.id)).deleted, true);
    await assert.rejects(client.files.content(file.id), OpenAI.NotFoundError);
  },

  async "typed errors"() {
    const file = await upload([line("r0")]);
    const wanted = { input_file_id: file.id, endpoint: CHAT, completion_window: "24h" };
    const refused = async (asking, type, code, param, message) =>
      assert.rejects(asking, (error) => {
        assert.ok(error instanceof type, error);
        assert.deepEqual([error.code, error.param, error.type], [code, param, "invalid_request_error"]);
        assert.match(error.requestID, /^req_[0-9a-f]{24}$/);
        assert.ok(error.message.includes(message), error.message);
        return true;
      });
    await refused(
      client.batches.create({ ...wanted, endpoint: "/v1/x" }),
      OpenAI.BadRequestError, "invalid_value", "endpoint", "Invalid value: '/v1/x'. Supported values are: ",
    );
    await refused(
      client.batches.create({ ...wanted, input_file_id: undefined }),
      OpenAI.BadRequestError, "missing_required_parameter", "input_file_id",
      "Missing required parameter: 'input_file_id'.",
    );
    await refused(
      client.batches.create({ ...wanted, metadata: { tags: ["a"] } }),
      OpenAI.BadRequestError, "invalid_type", "metadata.tags", "metadata.tags",
    );
    await refused(
      upload(["no JSON"]),
      OpenAI.BadRequestError, "invalid_file_format", "file", "Invalid file format for Batch API. Must be .jsonl",
    );
    await refused(
      client.batches.retrieve("batch_nowhere"),
      OpenAI.NotFoundError, "not_found", null, "No batch found with id 'batch_nowhere'.",
    );
    const failed = await awaited(await submit([line("r0"), "{", line("r0")]));
    assert.equal(failed.status, "failed");
    assert.deepEqual(
      failed.errors.data.map((each) => [each.line, each.code]),
      [[2, "invalid_json_line"], [3, "duplicate_custom_id"]],
    );
    let sent = 0;
    const counting = client.withOptions({ fetch: (...request) => (sent++, fetch(...request)) });
    await assert.rejects(counting.batches.cancel(failed.id), (error) => {
      assert.ok(error instanceof OpenAI.ConflictError, error);
      assert.ok(error.message.includes("Cannot cancel a batch with status 'failed'."), error.message);
      return true;
    });
    assert.equal(sent, 1);
  },

  async "answered at once, whole and in pieces"() {
    const wanted = { model: "gpt-4o-mini", temperature: 0, messages: [{ role: "user", content: `${process.pid}` }] };
    const { data, response } = await client.chat.completions.create(wanted).withResponse();
    assert.equal(response.headers.get("x-batchmill-cached"), "false");
    assert.ok(Number(response.headers.get("x-batchmill-cost-usd")) > 0);
    const text = data.choices[0].message.content;
    let streamed = "";
    const stream = await client.chat.completions.create({ ...wanted, stream: true });
    for await (const chunk of stream) streamed += chunk.choices[0]?.delta.content ?? "";
    assert.ok(text);
    assert.equal(streamed, text);
  },

  async "cancelled while running"() {
    const running = await stuck();
    assert.equal(running.status, "in_progress");
    const cancelling = await client.batches.cancel(running.id);
    assert.ok(cancelling.cancelling_at);
    await endedEarly(cancelling, "cancelled");
    assert.equal((await client.batches.cancel(running.id)).status, "cancelled");
  },

  // Whoever started this reads the id, and puts the end of the batch's window into the past.
  async "a batch expires"() {
    const running = await stuck();
    console.log(running.id);
    await endedEarly(running, "expired");
  },

  async "all lines fail"() {
    const batch = await awaited(await submit([0, 1, 2].map((n) => line(`r${n}`, { model: "sandbox/400" }))));
    assert.deepEqual([batch.status, batch.output_file_id], ["completed", null]);
    assert.deepEqual(batch.request_counts, { total: 3, completed: 0, failed: 3 });
    for (const { response, error } of await linesOf(batch.error_file_id)) {
      assert.deepEqual([error, response.status_code], [null, 400]);
      assert.ok(response.body.error.message);
    }
  },
};

await scenarios[process.argv[2]]();
