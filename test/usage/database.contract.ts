import { chmodSync, copyFileSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { sql } from 'kysely';
import { describe, expect, it, onTestFinished } from 'vitest';
import { AppError } from '../../src/errors.ts';
import { type Database, openDatabase, type Queries, type SqliteDriver, toBytes } from '../../src/usage/database.ts';
import { migrations } from '../../src/usage/migrations/index.ts';
import { temporaryFolder } from '../support/folder.ts';
import { itWithProcesses, startChild } from './child.ts';

/** What the ledger needs of a database, whichever driver opens it. */
export function describeDatabase(driver: SqliteDriver): void {
  const newPath = () => join(temporaryFolder(), 'tandem.db');
  const open = async (path = newPath()) => {
    const database = await openDatabase(path, driver);
    onTestFinished(() => database.close());
    return database;
  };

  describe('opening', () => {
    it('creates the file with its folders and all tables', async () => {
      const database = await open(join(temporaryFolder(), 'a', 'b', 'tandem.db'));
      const { rows } = await sql<{ name: string }>`
        SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name`.execute(database.read);
      expect(rows.map(({ name }) => name)).toEqual([
        'attempt',
        'attempt_chunk',
        'audit',
        'budget_period',
        'calibration',
        'comparison',
        'deployment',
        'hunt',
        'instance',
        'keeper',
        'notice',
        'principal_period',
        'rating',
        'token',
      ]);
      expect(database.driver).toBe(driver);
    });

    it('keeps what was written when it is opened again', async () => {
      const first = await open();
      await add(first.read, 'day', 7);
      await first.close();
      expect(await amounts(await open(first.path))).toEqual({ day: 7 });
    });

    it('holds everything in the one file when it is closed', async () => {
      const database = await open();
      await add(database.read, 'day', 7);
      await database.close();
      const copy = newPath();
      copyFileSync(database.path, copy);
      expect(await amounts(await open(copy))).toEqual({ day: 7 });
    });

    it('closes without ever having been used, and twice', async () => {
      const database = await open();
      await database.close();
      await database.close();
      await expect(amounts(database)).rejects.toThrow();
    });

    it('writes ahead, so that a reader never waits for a writer', async () => {
      const [writer, reader] = await pair();
      expect(await pragma(writer, 'journal_mode')).toBe('wal');
      await add(writer.read, 'before', 1);
      await writer.write(async (queries) => {
        await add(queries, 'during', 2);
        expect(await amounts(reader)).toEqual({ before: 1 });
      });
      expect(await amounts(reader)).toEqual({ before: 1, during: 2 });
    });

    it('waits while somebody else is creating the file', async () => {
      const path = newPath();
      const other = new (createRequire(import.meta.url)(driver))(path);
      other.exec('BEGIN IMMEDIATE; CREATE TABLE half (way)');
      const opening = open(path);
      other.exec('DROP TABLE half; COMMIT');
      other.close();
      expect(await amounts(await opening)).toEqual({});
    });

    it('does not wait for a lock for longer than two seconds', async () => {
      const database = await open();
      expect(await pragma(database, 'busy_timeout')).toBe(2_000);
    });

    it('refuses a file that is not a database and leaves it as it is', async () => {
      const path = newPath();
      writeFileSync(path, 'not a database, but long enough to look at: '.repeat(100));
      const error = await failure(openDatabase(path, driver));
      expect(error).toMatchObject({
        code: 'database_corrupt',
        message: `The ledger ${path} is not a usable database.`,
      });
      expect(error.next).toContain('Move it away');
    });

    it('refuses a file of a newer version and says what to do', async () => {
      const newer = await open();
      await sql`PRAGMA user_version = 999`.execute(newer.read);
      await newer.close();
      const error = await failure(openDatabase(newer.path, driver));
      expect(error.code).toBe('database_newer');
      expect(error.text).toContain('schema 999');
      expect(error.text).toContain('Update Tandem');
    });

    it('takes a refused file when its version is one it knows again', async () => {
      const newer = await open();
      await add(newer.read, 'day', 3);
      await sql`PRAGMA user_version = 999`.execute(newer.read);
      await failure(openDatabase(newer.path, driver));
      await sql`PRAGMA user_version = ${sql.raw(String(migrations.length))}`.execute(newer.read);
      expect(await amounts(await open(newer.path))).toEqual({ day: 3 });
    });

    it('takes the attempts of an older version with it', async () => {
      const path = newPath();
      const older = new (createRequire(import.meta.url)(driver))(path);
      older.exec(migrations[0]);
      older.exec(`
        INSERT INTO attempt (id, request_id, ordinal, day, backend, kind, model, priority, owner, started_at_ms,
          deadline_at_ms, status, cost_nano_usd, reserved_nano_usd) VALUES
          ('late.1', 'late', 1, '2026-11-23', 'b', 'serverless', 'm', 'p', 'o', 20, 30, 'ok', 7, 0),
          ('early.1', 'early', 1, '2026-11-23', 'b', 'serverless', 'm', 'p', 'o', 10, 30, 'open', NULL, 5);
        INSERT INTO budget_period VALUES ('2026-11', 7, 5);
        PRAGMA user_version = 1`);
      older.close();
      const database = await open(path);
      const rows = await database.read.selectFrom('attempt').selectAll().orderBy('sequence').execute();
      const common = { principal_id: 'local', operation: 'chat', score: null };
      expect(rows).toMatchObject([
        { ...common, sequence: 1, id: 'early.1', status: 'open', reserved_nano_usd: 5 },
        { ...common, sequence: 2, id: 'late.1', status: 'ok', cost_nano_usd: 7 },
      ]);
    });

    it('says what is wrong when its folder would lie under a file', async () => {
      const file = join(temporaryFolder(), 'file');
      writeFileSync(file, '');
      for (const path of [join(file, 'tandem.db'), join(file, 'deeper', 'tandem.db')]) {
        const error = await failure(openDatabase(path, driver));
        expect(error.code).toBe('database_unavailable');
        expect(error.text).toContain(path);
        expect(error.text).toContain('TANDEM_HOME');
      }
    });

    it('says what is wrong when the path is a folder', async () => {
      const path = newPath();
      mkdirSync(path);
      expect((await failure(openDatabase(path, driver))).code).toBe('database_unavailable');
    });
  });

  describe('values', () => {
    it('keeps whole numbers exactly, far beyond 32 bits', async () => {
      const database = await open();
      const numbers = [2 ** 31 - 1, 2 ** 31, -(2 ** 31) - 1, 2 ** 40 + 1, Number.MAX_SAFE_INTEGER];
      for (const [index, value] of numbers.entries()) await add(database.read, String(index), value);
      expect(Object.values(await amounts(database))).toEqual(numbers);
    });

    it('adds numbers beyond 32 bits exactly', async () => {
      const database = await open();
      for (const period of ['a', 'b', 'c']) await add(database.read, period, 3_000_000_000_001);
      const { rows } = await sql`SELECT sum(settled_nano_usd) AS total FROM budget_period`.execute(database.read);
      expect(rows).toEqual([{ total: 9_000_000_000_003 }]);
    });

    it('gives unknown back as null, not as 0 or undefined', async () => {
      const database = await open();
      await insertInstance(database.read, 'intent');
      const row = await database.read.selectFrom('instance').selectAll().executeTakeFirstOrThrow();
      expect(row.instance_id).toBeNull();
      expect(row.gone_at_ms).toBeNull();
      expect(Object.values(row)).not.toContain(undefined);
    });

    it('keeps texts as they are', async () => {
      const database = await open();
      const name = `Zürich 東京 🚀 '"; DROP TABLE instance; --`;
      await insertInstance(database.read, name);
      expect(await database.read.selectFrom('instance').select('name').executeTakeFirst()).toEqual({ name });
    });

    it('gives bytes back as they were, none included', async () => {
      const database = await open();
      const bytes = Uint8Array.from({ length: 40 }, (_, index) => index * 6);
      const insert = `INSERT INTO attempt_chunk (first_sequence, last_sequence, cells, latencies, elapsed)
        VALUES (1, 2, '[]', ?, ?)`;
      await database.write((_, runEach) => runEach(insert, [[bytes.subarray(8, 24), new Uint8Array()]]));
      const row = await database.read.selectFrom('attempt_chunk').selectAll().executeTakeFirstOrThrow();
      expect([...toBytes(row.latencies)]).toEqual([...bytes.subarray(8, 24)]);
      expect(toBytes(row.elapsed)).toHaveLength(0);
    });

    it('refuses a part of a nano-dollar', async () => {
      const database = await open();
      await expect(add(database.read, 'day', 1.5)).rejects.toThrow('cannot store REAL value in INTEGER column');
      expect(await amounts(database)).toEqual({});
    });

    it('refuses a status that does not exist', async () => {
      const database = await open();
      const row = sql`INSERT INTO attempt (id, request_id, ordinal, day, backend, kind, model, priority, owner,
        started_at_ms, deadline_at_ms, status, reserved_nano_usd)
        VALUES ('a', 'a', 1, '2026-11-23', 'b', 'serverless', 'm', 'p', 'o', 1, 2, 'lost', 0)`;
      await expect(row.execute(database.read)).rejects.toThrow('CHECK constraint failed');
    });
  });

  describe('write', () => {
    it('returns what the work returns', async () => {
      const database = await open();
      expect(await database.write(async () => 'done')).toBe('done');
    });

    it('takes everything back when the work fails, and works again after that', async () => {
      const database = await open();
      const broken = database.write(async (queries) => {
        await add(queries, 'day', 1);
        throw new Error('half way');
      });
      await expect(broken).rejects.toThrow('half way');
      expect(await amounts(database)).toEqual({});
      await database.write((queries) => add(queries, 'day', 2));
      expect(await amounts(database)).toEqual({ day: 2 });
    });

    it('runs one statement for many rows and says how many each changed', async () => {
      const database = await open();
      await add(database.read, 'day', 1);
      const update = 'UPDATE budget_period SET settled_nano_usd = ? WHERE period = ?';
      const work = database.write((_, runEach) =>
        runEach(update, [
          [2, 'day'],
          [3, 'night'],
          [4, 'day'],
        ]),
      );
      expect(await work).toEqual([1, 0, 1]);
      expect(await amounts(database)).toEqual({ day: 4 });
    });

    it('takes everything back when one of many rows fails, and works again after that', async () => {
      const database = await open();
      const insert = 'INSERT INTO budget_period (period, settled_nano_usd, reserved_nano_usd) VALUES (?, ?, 0)';
      const write = (...periods: string[]) =>
        database.write((_, runEach) =>
          runEach(
            insert,
            periods.map((period) => [period, 1]),
          ),
        );
      await expect(write('a', 'b', 'a')).rejects.toThrow('UNIQUE constraint failed');
      expect(await amounts(database)).toEqual({});
      await write('a', 'b');
      expect(await amounts(database)).toEqual({ a: 1, b: 1 });
    });

    it('takes everything back when a statement fails', async () => {
      const database = await open();
      const broken = database.write(async (queries) => {
        await add(queries, 'day', 1);
        await add(queries, 'day', 2);
      });
      await expect(broken).rejects.toThrow('UNIQUE constraint failed');
      expect(await amounts(database)).toEqual({});
    });

    it('runs one at a time, in order', async () => {
      const database = await open();
      await add(database.read, 'day', 0);
      const work = async (queries: Queries) => {
        const { day = 0 } = await amounts({ read: queries });
        await new Promise(setImmediate);
        await set(queries, 'day', day + 1);
      };
      await Promise.all(Array.from({ length: 50 }, () => database.write(work)));
      expect(await amounts(database)).toEqual({ day: 50 });
    });

    it('counts its turns, and leaves one out where somebody else has written', async () => {
      const [own, other] = await pair();
      await add(own.read, 'day', 0);
      const turnOf = (database: Database) =>
        database.write(async (queries, _runEach, turn) => {
          await set(queries, 'day', turn);
          return turn;
        });
      const first = await turnOf(own);
      expect(await turnOf(own)).toBe(first + 1);
      await turnOf(other);
      expect(await turnOf(own)).toBe(first + 3);
      await expect(own.write(async () => Promise.reject(new Error('no')))).rejects.toThrow('no');
      expect(await turnOf(own)).toBe(first + 5);
    });

    it('lets reads of the same connection wait until it is over', async () => {
      const database = await open();
      const writing = database.write(async (queries) => {
        await add(queries, 'day', 1);
        await new Promise(setImmediate);
        await set(queries, 'day', 2);
      });
      expect(await amounts(database)).toEqual({ day: 2 });
      await writing;
    });

    it('gives up with a clear error when another connection holds the lock for too long', async () => {
      const [holder, second] = await pair();
      await sql`PRAGMA busy_timeout = 150`.execute(second.read);
      const startedAt = performance.now();
      const error = await holder.write(() => failure(second.write((queries) => add(queries, 'day', 1))));
      expect(error).toMatchObject({ code: 'database_locked', isRetryable: true });
      expect(performance.now() - startedAt).toBeGreaterThan(140);
    });

    it('works again as soon as the other connection lets go', async () => {
      const [holder, second] = await pair();
      await sql`PRAGMA busy_timeout = 1`.execute(second.read);
      await holder.write(() => failure(second.write((queries) => add(queries, 'day', 1))));
      await second.write((queries) => add(queries, 'day', 2));
      expect(await amounts(holder)).toEqual({ day: 2 });
    });
  });

  describe('with other processes', () => {
    itWithProcesses('waits while another process writes', async () => {
      const database = await open();
      const holder = startChild('hold', { path: database.path, driver, forMs: 300 });
      expect(await holder.answer()).toEqual({ held: true });
      const startedAt = performance.now();
      await database.write((queries) => add(queries, 'after', 2));
      expect(performance.now() - startedAt).toBeGreaterThan(100);
      expect(await amounts(database)).toEqual({ after: 2, held: 1 });
    });

    itWithProcesses('is created once when four processes start at once on an empty folder', async () => {
      const path = join(temporaryFolder(), 'new', 'tandem.db');
      const starters = Array.from({ length: 4 }, () => startChild('start', { path, driver }));
      for (const starter of starters) expect(await starter.answer()).toEqual({ ready: true });
      for (const { process } of starters) process.stdin?.end();
      for (const starter of starters) expect(await starter.answer()).toEqual({ ok: true });
      expect(Object.keys(await amounts(await open(path)))).toHaveLength(4);
    });

    itWithProcesses('reads a file in use that it must not write, and refuses to write', async ({ skip }) => {
      if (!hasPermissions) skip('Windows has no such permissions');
      const database = await open();
      await add(database.read, 'day', 1);
      forbidWriting(database.path);
      const answer = await startChild('touch', { path: database.path, driver }, { asNobody: true }).answer();
      expect(answer).toMatchObject({ rows: 1, write: { code: 'database_read_only' } });
      expect(answer.write.text).toContain('Make the file and its folder writable');
    });

    itWithProcesses('says at the latest when it writes that it must not', async ({ skip }) => {
      if (!hasPermissions) skip('Windows has no such permissions');
      const database = await open();
      await database.close();
      forbidWriting(database.path);
      const answer = await startChild('touch', { path: database.path, driver }, { asNobody: true }).answer();
      expect(answer.write ?? answer).toMatchObject({ code: 'database_read_only' });
    });

    itWithProcesses('says so when it may not make its folder', async ({ skip }) => {
      if (!hasPermissions) skip('Windows has no such permissions');
      const path = join(temporaryFolder(), 'new', 'tandem.db');
      forbidWriting(dirname(path));
      const answer = await startChild('touch', { path, driver }, { asNobody: true }).answer();
      expect(answer.code).toBe('database_read_only');
      expect(answer.text).toContain(path);
    });
  });

  async function pair(): Promise<[Database, Database]> {
    const first = await open();
    return [first, await open(first.path)];
  }
}

const hasPermissions = process.platform !== 'win32';

/** For everybody who is not root, until the test ends. */
function forbidWriting(path: string): void {
  const folder = dirname(path);
  for (const name of readdirSync(folder)) chmodSync(join(folder, name), 0o444);
  chmodSync(folder, 0o555);
  onTestFinished(() => chmodSync(folder, 0o755));
}

type Readable = Pick<Database, 'read'>;

async function add(queries: Queries, period: string, amount: number): Promise<void> {
  const row = { period, settled_nano_usd: amount, reserved_nano_usd: 0 };
  await queries.insertInto('budget_period').values(row).execute();
}

async function set(queries: Queries, period: string, amount: number): Promise<void> {
  await queries.updateTable('budget_period').set({ settled_nano_usd: amount }).where('period', '=', period).execute();
}

async function amounts({ read }: Readable): Promise<Record<string, number>> {
  const rows = await read.selectFrom('budget_period').selectAll().orderBy('period').execute();
  return Object.fromEntries(rows.map((row) => [row.period, row.settled_nano_usd]));
}

async function pragma({ read }: Readable, name: string): Promise<unknown> {
  const { rows } = await sql<Record<string, unknown>>`PRAGMA ${sql.raw(name)}`.execute(read);
  return Object.values(rows[0] ?? {})[0];
}

async function insertInstance(queries: Queries, name: string): Promise<void> {
  const row = { intent_id: name, instance_id: null, name, instance_type: 'gpu_1x_a10', region: 'us-east-1' };
  const rest = {
    price_cents_per_hour: 75,
    status: 'intent',
    owner: 'host:1',
    requested_at_ms: 1,
    reserved_nano_usd: 0,
  };
  await queries
    .insertInto('instance')
    .values({ ...row, ...rest })
    .execute();
}

async function failure(work: Promise<unknown>): Promise<AppError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(AppError);
  return error as AppError;
}
