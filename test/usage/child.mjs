// A second process on the same database: `node child.mjs <command> <json>`. Runs the compiled code and answers in
// JSON lines.
import { setTimeout as delay } from 'node:timers/promises';
import { Agent } from 'undici';
import { systemClock } from '../../dist/clock.js';
import { createLog } from '../../dist/log.js';
import { Redactor } from '../../dist/redactor.js';
import { Budget } from '../../dist/usage/budget.js';
import { Calendar } from '../../dist/usage/calendar.js';
import { openDatabase } from '../../dist/usage/database.js';
import { KeeperLock } from '../../dist/usage/keeper-lock.js';
import { Ledger } from '../../dist/usage/ledger.js';
import { NoticeBook } from '../../dist/usage/notice-book.js';
import { owner } from '../../dist/usage/owner.js';
import { Watchdog } from '../../dist/watchdog.js';
import { Webhook } from '../../dist/webhook.js';

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

  /** Sends all notices there are. */
  async send({ path, url, nowMs }) {
    const clock = { nowMs: () => nowMs, sleep: (ms) => delay(ms) };
    const database = await openDatabase(path);
    const book = new NoticeBook({ database, clock, redactor: new Redactor() });
    const log = createLog('silent', new Redactor());
    const dispatcher = new Agent();
    const secret = { origin: 'URL', read: async () => url };
    const webhook = new Webhook({ url: secret, book, clock, dispatcher, log });
    while (await webhook.hasWork()) await webhook.send();
    say({ hasWork: await webhook.hasWork() });
    await dispatcher.close();
    await database.close();
  },

  /** Starts a watchdog for a folder, and waits to be killed. */
  async ensure({ home, command, times = 1 }) {
    const database = await openDatabase(`${home}/tandem.db`);
    const log = createLog('silent', new Redactor());
    const lock = new KeeperLock(database, systemClock);
    const watchdog = new Watchdog({ home, lock, log, ...(command && { command }) });
    const outcomes = [];
    for (let time = 0; time < times; time += 1) outcomes.push(await watchdog.ensure());
    say({ outcomes });
    process.stdin.resume();
  },

  /** Tries to become the keeper, says whether it did, and lives on until it is killed or its stdin ends. */
  async keep({ path }) {
    const database = await openDatabase(path);
    const lock = new KeeperLock(database, systemClock);
    say({ owner, took: await lock.take('watch') });
    for await (const _ of process.stdin);
    await lock.release();
    await database.close();
    say({ released: true });
  },
};

await commands[command](input).catch((error) => say(problem(error)));
