// Each measure takes `{ start, rounds, quick }` and returns rows `{ measure, seen, rounds, digits, unit, atLeast | atMost }`:
// `rounds` has one number per round, the row stands or falls with their median.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { stop } from './children.mjs';
import { load, targetOf } from './load.mjs';
import { McpOverHttp } from './mcp-client.mjs';
import { median, whole } from './numbers.mjs';

/**
 * Calls `one` for every subject in turn, in short slices, so that a busy spell of the machine hits all of them.
 * Gives one number per round and subject, the median of its slices.
 */
async function interleave(subjects, { rounds, slices = 1 }, one) {
  const seen = Object.fromEntries(Object.keys(subjects).map((name) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    const taken = Object.fromEntries(Object.keys(subjects).map((name) => [name, []]));
    for (let slice = 0; slice < slices; slice += 1) {
      for (const [name, subject] of Object.entries(subjects)) taken[name].push(await one(subject));
    }
    for (const name of Object.keys(subjects)) seen[name].push(median(taken[name]));
  }
  return seen;
}

const each = (one, other, combine) => one.map((value, round) => combine(value, other[round]));
const quotient = (one, other) => one / other;

async function requests({ start, rounds, quick }) {
  const subjects = await start(['direct', 'portkey', 'bare', 'tandem']);
  const run = async (subject, until) => {
    const { answers, seconds } = await load(targetOf(subject, 'answer'), { connections: 32, ...until });
    return answers.length / seconds;
  };
  // Counted in requests: by time, a slow subject would still be compiling when its numbers are taken.
  const warmUp = { amount: quick ? 1000 : 6000, ms: 30_000 };
  await interleave(subjects, { rounds: 1 }, (subject) => run(subject, warmUp));
  const rps = await interleave(subjects, { rounds, slices: quick ? 1 : 5 }, (subject) => run(subject, { ms: 1000 }));
  const [direct, portkey, bare, tandem] = Object.values(rps).map((values) => whole(median(values)));
  const name = 'requests/s, 32 connections, JSON; Tandem with routing, ledger and budget';
  return [
    {
      measure: `${name}, against Portkey`,
      seen: `${tandem}/s, Portkey ${portkey}/s`,
      rounds: each(rps.tandem, rps.portkey, quotient),
      digits: 2,
      unit: 'x',
      atLeast: 5,
    },
    {
      measure: 'the same against a bare proxy',
      seen: `${tandem}/s, bare ${bare}/s, direct ${direct}/s`,
      rounds: each(rps.tandem, rps.bare, quotient),
      digits: 2,
      unit: 'x',
      atLeast: 0.5,
    },
  ];
}

async function latency({ start, rounds, quick }) {
  const subjects = await start(['direct', 'bare', 'tandem']);
  const run = async (subject) => {
    const { answers } = await load(targetOf(subject, 'answer'), { connections: 1, amount: 400 });
    return median(answers.map(({ ms }) => ms * 1000));
  };
  await interleave(subjects, { rounds: 1, slices: 3 }, run);
  const us = await interleave(subjects, { rounds, slices: quick ? 1 : 7 }, run);
  const bare = each(us.bare, us.direct, (one, other) => one - other);
  const tandem = each(us.tandem, us.direct, (one, other) => one - other);
  return [
    {
      measure: 'added latency at 1 connection, P50 over direct, against the bare proxy',
      seen: `+${whole(median(tandem))} µs, bare +${whole(median(bare))} µs, direct ${whole(median(us.direct))} µs`,
      rounds: each(tandem, bare, quotient),
      digits: 2,
      unit: 'x',
      atMost: 1.5,
    },
  ];
}

async function streams({ start, rounds, quick }) {
  const subjects = await start(['bare', 'tandem']);
  const chunks = 200;
  const flatOut = async (subject) => {
    const target = targetOf(subject, 'stream', chunks);
    const { answers, seconds } = await load(target, { connections: 64, ms: 1000 });
    if (answers.some(({ events }) => events < chunks)) throw new Error(`a stream had less than ${chunks} chunks`);
    return (answers.length * chunks) / seconds;
  };
  await interleave(subjects, { rounds: 1, slices: 2 }, flatOut);
  const rate = await interleave(subjects, { rounds, slices: quick ? 1 : 5 }, flatOut);

  // All 64 are under way together, but do not begin together: a burst would measure the queue of the machine.
  const pacedChunks = quick ? 50 : chunks;
  const staggerMs = (pacedChunks * 20) / 64;
  const paced = async (subject) => {
    const target = targetOf(subject, 'paced', pacedChunks);
    const { answers } = await load(target, { connections: 64, amount: 192, staggerMs });
    return median(answers.map(({ firstMs }) => firstMs));
  };
  const first = await interleave(subjects, { rounds }, paced);
  return [
    {
      measure: '64 concurrent streams of 200 chunks, chunks/s against the bare proxy',
      seen: `${whole(median(rate.tandem))}/s, bare ${whole(median(rate.bare))}/s`,
      rounds: each(rate.tandem, rate.bare, quotient),
      digits: 2,
      unit: 'x',
      atLeast: 0.7,
    },
    {
      measure: 'time to first token in 64 streams of 50 chunks/s, P50 over the bare proxy',
      seen: `${median(first.tandem).toFixed(2)} ms, bare ${median(first.bare).toFixed(2)} ms`,
      rounds: each(first.tandem, first.bare, (one, other) => one - other),
      digits: 2,
      unit: ' ms',
      atMost: 1,
    },
  ];
}

async function memory({ start, quick }) {
  const probe = ['--import', new URL('memory-probe.mjs', import.meta.url).href];
  const most = quick ? 10_000 : 100_000;
  const run = async (name) => {
    const { [name]: subject } = await start([name], probe);
    const ask = async (amount) => {
      await load(targetOf(subject, 'answer'), { connections: 32, amount });
      await new Promise((resolve) => setTimeout(resolve, 2000));
      subject.child.send('memory');
      const [{ rss, heapUsed }] = await once(subject.child, 'message', { signal: AbortSignal.timeout(20_000) });
      return { rss: rss / 2 ** 20, heapUsed: heapUsed / 2 ** 20 };
    };
    const early = await ask(1000);
    const late = await ask(most - 1000);
    await stop(subject.child);
    return { early, late };
  };
  const bare = await run('bare');
  const { early, late } = await run('tandem');
  const mib = (value) => value.toFixed(0);
  return [
    {
      measure: `memory (RSS after a collection) after ${whole(most)} requests against after 1,000`,
      seen: `${mib(late.rss)} MiB against ${mib(early.rss)} (heap ${mib(late.heapUsed)} against ${mib(early.heapUsed)}); bare ${mib(bare.late.rss)} against ${mib(bare.early.rss)}`,
      rounds: [late.rss / early.rss],
      digits: 2,
      unit: 'x',
      atMost: 1.2,
    },
  ];
}

/** With plain HTTP, as agents and other languages have it: the SDK's client compiles every schema that it is sent. */
async function mcp({ start, rounds, quick }) {
  const { tandem } = await start(['tandem']);
  const client = new McpOverHttp(new URL('/mcp', tandem.url), tandem.headers);
  await client.open();
  const question = { name: 'route_explain', arguments: { prompt: 'Why is the sky blue? Answer in one sentence.' } };
  const run = async () => {
    const times = [];
    for (let turn = 0; turn < (quick ? 50 : 300); turn += 1) {
      const startedAt = performance.now();
      const { tools } = await client.ask('tools/list', {});
      const { isError, structuredContent } = await client.ask('tools/call', question);
      times.push(performance.now() - startedAt);
      if (tools.length === 0 || isError || structuredContent?.candidates.length === 0)
        throw new Error('a wrong answer');
    }
    return median(times);
  };
  await run();
  const ms = [];
  for (let round = 0; round < rounds; round += 1) ms.push(await run());
  await client.close();
  return [
    {
      measure: 'tools/list and one route_explain over Streamable HTTP, P50',
      seen: 'one session, plain HTTP client',
      rounds: ms,
      digits: 2,
      unit: ' ms',
      atMost: 5,
    },
  ];
}

/** `bench/report.mjs` fills a ledger by itself and prints `slowest median <number> ms (driver)`. */
async function report() {
  const file = fileURLToPath(new URL('../report.mjs', import.meta.url));
  if (!existsSync(file)) throw new Error('bench/report.mjs is not there');
  const { stdout } = await promisify(execFile)(process.execPath, [file], { timeout: 600_000 });
  const found = /slowest median ([\d.,]+) ms \((.*)\)/.exec(stdout);
  if (!found) throw new Error(`bench/report.mjs printed no "slowest median <number> ms": ${stdout.slice(-300)}`);
  return [
    {
      measure: 'cost_report over 1,000,000 attempts on SQLite, median',
      seen: `${found[2]}, the slowest of six spans and groups`,
      rounds: [Number(found[1].replaceAll(',', ''))],
      digits: 0,
      unit: ' ms',
      atMost: 500,
    },
  ];
}

/** By the name that `--only` knows, in the order of the table. */
export const measures = { requests, latency, streams, memory, mcp, report };
