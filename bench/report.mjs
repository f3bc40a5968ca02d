// How long cost_report takes over a million attempts of 30 days. `npm run bench:report -- [attempts]`
// Rows are inserted in large transactions; they are sealed by the code that seals them in a running Tandem.
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { costReport } from '../dist/tools/cost-report.js';
import { Budget } from '../dist/usage/budget.js';
import { Calendar } from '../dist/usage/calendar.js';
import { sealChunk } from '../dist/usage/chunks.js';
import { openDatabase } from '../dist/usage/database.js';
import { Reports } from '../dist/usage/report.js';
import { newRequestId } from '../dist/usage/request-id.js';

const attempts = Number(process.argv[2] ?? 1_000_000);
const runs = 5;
const dayMs = 24 * 60 * 60_000;
const nowMs = Date.parse('2026-11-23T12:00:00Z');
const clock = { nowMs: () => nowMs, sleep: async () => undefined };
const backends = [
  ['groq', 'serverless', ['llama-3.1-8b', 'llama-3.3-70b', 'qwen-3-32b']],
  ['together', 'serverless', ['llama-3.3-70b', 'deepseek-v3']],
  ['openai', 'serverless', ['gpt-small', 'gpt-large']],
  ['gpu-box', 'dedicated', ['llama-3.1-8b', 'qwen-3-32b']],
];
const principals = ['local', 'tok_website', 'tok_batch', 'tok_agents'];

// A fixed seed: every run measures the same rows.
let seed = 42;
const random = () => {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
  return seed / 2 ** 32;
};
const pick = (list) => list[Math.floor(random() * list.length)];
/** Log-normal around half a second, with a tail of many seconds. */
const latency = () => {
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return Math.round(500 * Math.exp(0.8 * normal));
};

const insert = `INSERT INTO attempt (id, request_id, ordinal, principal_id, day, backend, kind, model, priority, score,
  owner, started_at_ms, deadline_at_ms, ended_at_ms, status, error_code, finish_reason, input_tokens,
  cached_input_tokens, output_tokens, reasoning_tokens, usage_source, cost_nano_usd, cost_source, reserved_nano_usd,
  first_token_ms, latency_ms, elapsed_ms)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'balanced', ?, 'bench:1', ?, ?, ?, ?, ?, ?, ?, 0, ?, 0, ?, ?, ?, 0, ?, ?, ?)`;

function row(index) {
  const startedAtMs = Math.floor(nowMs - 30 * dayMs + (30 * dayMs * index) / attempts);
  const [backend, kind, models] = pick(backends);
  const drawn = random();
  const status = drawn < 0.95 ? 'ok' : drawn < 0.98 ? 'error' : drawn < 0.995 ? 'cancelled' : 'interrupted';
  const ok = status === 'ok';
  const requestId = newRequestId();
  const ordinal = random() < 0.04 ? 2 : 1;
  const latencyMs = latency();
  const [inputTokens, outputTokens] = ok ? [Math.floor(random() * 4_000), Math.floor(random() * 800)] : [null, null];
  const cost = kind === 'dedicated' ? 0 : ok ? inputTokens * 50 + outputTokens * 80 : random() < 0.5 ? 0 : null;
  return [
    `${requestId}.${ordinal}`,
    requestId,
    ordinal,
    pick(principals),
    new Date(startedAtMs).toISOString().slice(0, 10),
    backend,
    kind,
    pick(models),
    random(),
    startedAtMs,
    startedAtMs + 43_000,
    startedAtMs + latencyMs,
    status,
    status === 'error' ? 'upstream_unavailable' : null,
    ok ? 'stop' : null,
    inputTokens,
    outputTokens,
    ok ? (random() < 0.9 ? 'provider' : 'estimate') : null,
    cost,
    cost === null ? null : kind === 'dedicated' ? 'instance_time' : 'snapshot',
    Math.round(latencyMs / 4),
    latencyMs,
    latencyMs + (ordinal === 2 ? latency() : 1),
  ];
}

const folder = mkdtempSync(join(tmpdir(), 'tandem-bench-'));
try {
  const database = await openDatabase(join(folder, 'tandem.db'));
  const calendar = new Calendar('UTC');
  const reports = new Reports(
    database,
    new Budget({ dailyNanoUsd: 1e12, monthlyNanoUsd: 1e13 }, calendar, clock),
    calendar,
    clock,
  );
  let startedAt = performance.now();
  for (let index = 0; index < attempts; index += 10_000) {
    const rows = Array.from({ length: Math.min(10_000, attempts - index) }, (_, offset) => row(index + offset));
    await database.write((_, runEach) => runEach(insert, rows));
  }
  const filledMs = performance.now() - startedAt;
  const seals = [];
  for (;;) {
    startedAt = performance.now();
    if ((await sealChunk(database)) !== 'sealed') break;
    seals.push(performance.now() - startedAt);
  }
  seals.sort((one, other) => one - other);
  console.log(
    `${database.driver}, Node ${process.versions.node}: ${attempts} attempts filled in ${(filledMs / 1000).toFixed(1)} s, ${seals.length} chunks sealed in ${summary(seals)} each, ${Math.round(statSync(database.path).size / 2 ** 20)} MiB`,
  );
  const context = { reports, calendar, clock };
  const medians = [];
  for (const input of [
    { period: '30d' },
    { period: '30d', group_by: 'model' },
    { period: '30d', group_by: 'day' },
    { period: '30d', group_by: 'principal' },
    { from: '2026-10-26T07:13', to: '2026-11-20T18:21' },
    { period: 'today' },
  ]) {
    const times = [];
    for (let run = 0; run <= runs; run += 1) {
      startedAt = performance.now();
      const { structured } = await costReport.call(input, context);
      times.push(performance.now() - startedAt);
      if (structured.totals.requests === 0) throw new Error('an empty report');
    }
    const [first, ...warm] = times;
    warm.sort((one, other) => one - other);
    medians.push(warm[Math.floor(warm.length / 2)]);
    console.log(`cost_report ${JSON.stringify(input)}: first ${first.toFixed(0)} ms, then ${summary(warm)}`);
  }
  console.log(`slowest median ${Math.max(...medians).toFixed(0)} ms (${database.driver})`);
  await database.close();
} finally {
  rmSync(folder, { recursive: true });
}

/** Of sorted times. */
function summary(times) {
  return `median ${times[Math.floor(times.length / 2)].toFixed(0)} ms (min ${times[0].toFixed(0)}, max ${times.at(-1).toFixed(0)})`;
}
