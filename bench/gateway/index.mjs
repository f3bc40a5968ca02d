// The gateway against a bare proxy and against Portkey, on loopback, in ratios. Prints Markdown; exits with 1 when a
// number is not where it must be. `npm run bench -- [--quick] [--rounds 3] [--only requests,latency,...]`
import { availableParallelism, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { startModule, stop } from './children.mjs';
import { measures } from './measures.mjs';
import { subjects } from './subjects.mjs';
import { isReached, renderTable } from './table.mjs';

const { values: options } = parseArgs({
  options: { quick: { type: 'boolean' }, rounds: { type: 'string' }, only: { type: 'string' } },
});
const order = Object.keys(measures);
const wanted = options.only?.split(',') ?? order;
const unknown = wanted.filter((name) => !order.includes(name));
if (unknown.length > 0) {
  console.error(`unknown: ${unknown.join(', ')}; there are ${order.join(', ')}`);
  process.exit(2);
}
const rounds = Number(options.rounds ?? (options.quick ? 1 : 3));

if (loadavg()[0] > availableParallelism() / 2) {
  console.error(`The machine is busy (load ${loadavg()[0].toFixed(1)}): numbers will be scattered.`);
}

const rows = [];
const failures = [];
for (const name of order.filter((name) => wanted.includes(name))) {
  console.error(`${name} ...`);
  const running = [];
  // Every measure has fresh processes: what one leaves behind must not slow the next.
  const start = async (names, nodeArgs) => {
    if (running.length === 0) running.push(await startModule('fake-provider.mjs'));
    const started = {};
    for (const subject of names) {
      started[subject] = await subjects[subject](running[0].url, nodeArgs);
      running.push(started[subject]);
    }
    return started;
  };
  try {
    rows.push(...(await measures[name]({ start, rounds, quick: options.quick === true })));
  } catch (error) {
    failures.push(`${name}: ${error.message}`);
  }
  await Promise.all(running.map(({ child }) => child && stop(child)));
}

if (rows.length > 0) console.log(renderTable(rows, { rounds }));
failures.push(...rows.filter((row) => !isReached(row)).map(({ measure }) => `missed: ${measure}`));
for (const failure of failures) console.error(failure);
process.exit(failures.length > 0 ? 1 : 0);
