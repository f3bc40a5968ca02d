// How many calls a second the ledger takes, from opening a row to its being settled, by how many are under way at
// once. Every open is in a turn of its own, as requests of different clients are. `npm run bench:ledger -- [calls]`
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../dist/clock.js';
import { createLog } from '../dist/log.js';
import { Redactor } from '../dist/redactor.js';
import { Budget } from '../dist/usage/budget.js';
import { Calendar } from '../dist/usage/calendar.js';
import { openDatabase, sqliteDrivers } from '../dist/usage/database.js';
import { Ledger } from '../dist/usage/ledger.js';
import { newRequestId } from '../dist/usage/request-id.js';

const calls = Number(process.argv[2] ?? 20_000);
const nanoPerUsd = 1e9;
const [major, minor] = process.versions.node.split('.').map(Number);
// better-sqlite3 13 does not fail on an older Node, it crashes it.
const isModern = major > 22 || (major === 22 && minor >= 14);

const outcome = {
  status: 'ok',
  finishReason: 'stop',
  usage: { inputTokens: 100, cachedInputTokens: 0, outputTokens: 50, reasoningTokens: 0 },
  usageSource: 'provider',
  costNanoUsd: 9_000,
  costSource: 'snapshot',
  firstTokenMs: 120,
  latencyMs: 400,
  elapsedMs: 401,
};

for (const driver of sqliteDrivers) {
  if (driver === 'better-sqlite3' && !isModern) continue;
  for (const inFlight of [1, 32, 256]) {
    const folder = mkdtempSync(join(tmpdir(), 'tandem-bench-'));
    const database = await openDatabase(join(folder, 'tandem.db'), driver);
    const limits = { dailyNanoUsd: 1e6 * nanoPerUsd, monthlyNanoUsd: 1e6 * nanoPerUsd };
    const budget = new Budget(limits, new Calendar('UTC'), systemClock);
    const ledger = new Ledger(database, budget, systemClock, createLog('error', new Redactor()));
    let left = Math.min(calls, 2_000);
    const opens = [];
    const worker = async () => {
      while (left > 0) {
        left -= 1;
        const startedAt = performance.now();
        const id = await ledger.openAttempt(attempt());
        opens.push(performance.now() - startedAt);
        await new Promise(setImmediate);
        await ledger.settleAttempt(id, outcome);
      }
    };
    const all = () => Promise.all(Array.from({ length: inFlight }, worker));
    await all();
    [left, opens.length] = [calls, 0];
    const [startedAt, cpu] = [performance.now(), process.cpuUsage()];
    await all();
    const ms = performance.now() - startedAt;
    const { user, system } = process.cpuUsage(cpu);
    opens.sort((one, other) => one - other);
    const at = (share) => `${Math.round(opens[Math.floor(share * (opens.length - 1))] * 1000)} us`;
    console.log(
      `${driver}, Node ${process.versions.node}, ${inFlight} in flight: ${Math.round(calls / (ms / 1000))} calls/s, ${((ms * 1000) / calls).toFixed(1)} us each (CPU ${((user + system) / calls).toFixed(1)}); open p50 ${at(0.5)}, p99 ${at(0.99)}`,
    );
    await ledger.drain?.();
    await database.close();
    rmSync(folder, { recursive: true });
  }
}

function attempt() {
  return {
    requestId: newRequestId(),
    ordinal: 1,
    backend: 'groq',
    kind: 'serverless',
    model: 'llama-3.1-8b-instant',
    priority: 'balanced',
    score: 0.25,
    predicted: { small: 0.9, large: 0.99 },
    reserveNanoUsd: 150_000,
    price: null,
    deadlineMs: 43_000,
  };
}
