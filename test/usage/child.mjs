// A second process on the same database: `node child.mjs <command> <json>`. Runs the compiled code and answers in
// JSON lines.
import { setTimeout as delay } from 'node:timers/promises';
import { createLog } from '../../dist/log.js';
import { Redactor } from '../../dist/redactor.js';
import { Budget } from '../../dist/usage/budget.js';
import { Calendar } from '../../dist/usage/calendar.js';
import { openDatabase } from '../../dist/usage/database.js';
import { owner } from '../../dist/usage/instances.js';
import { Ledger } from '../../dist/usage/ledger.js';

const [, , command, json] = process.argv;
const input = JSON.parse(json);
const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
const problem = (error) => ({ code: error.code ?? null, text: error.text ?? error.message });
const row = (period) => ({ period, settled_nano_usd: 1, reserved_nano_usd: 0 });

const commands = {
  /** Opens when told to by the end of its stdin, writes one row, closes. */
  async start({ path, driver }) {
    say({ ready: true });
    for await (const _ of process.stdin);
    const database = await openDatabase(path, driver);
    await database.write((queries) => queries.insertInto('budget_period').values(row(owner)).execute());
    await database.close();
    say({ ok: true });
  },

  /** What reading and writing come to. */
  async touch({ path, driver }) {
    const database = await openDatabase(path, driver);
    const rows = await database.read.selectFrom('budget_period').selectAll().execute();
    const write = await database
      .write((queries) => queries.insertInto('budget_period').values(row('new')).execute())
      .then(() => ({ ok: true }), problem);
    say({ rows: rows.length, write });
    await database.close();
  },

  /** Holds the write lock for a while. */
  async hold({ path, driver, forMs }) {
    const database = await openDatabase(path, driver);
    await database.write(async (queries) => {
      await queries.insertInto('budget_period').values(row('held')).execute();
      say({ held: true });
      await delay(forMs);
    });
    await database.close();
  },

  /** Opens attempts all at once and leaves them open until it is killed. */
  async attempts({ path, nowMs, limits, attempts }) {
    const clock = { nowMs: () => nowMs, sleep: (ms) => delay(ms) };
    const database = await openDatabase(path);
    const budget = new Budget(limits, new Calendar('UTC'), clock);
    const ledger = new Ledger(database, budget, clock, createLog('silent', new Redactor()));
    const results = await Promise.allSettled(attempts.map((attempt) => ledger.openAttempt(attempt)));
    const refused = results.flatMap(({ reason }) => (reason ? [reason.code ?? reason.message] : []));
    say({ owner, opened: results.length - refused.length, refused });
    process.stdin.resume();
  },
};

await commands[command](input).catch((error) => say(problem(error)));
