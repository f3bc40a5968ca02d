import { closeSync, existsSync, mkdirSync, openSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { CompiledQuery, Kysely, SqliteDialect, type SqliteStatement, sql } from 'kysely';
import { AppError, type ErrorCode } from '../errors.ts';
import { migrations } from './migrations/index.ts';
import type { Tables } from './tables.ts';

export const sqliteDrivers = ['better-sqlite3', 'libsql'] as const;
export type SqliteDriver = (typeof sqliteDrivers)[number];

/** A connection on which queries run: the database itself or a transaction of it. */
export type Queries = Kysely<Tables>;

export type SqlValue = string | number | null | Uint8Array;

/** Runs one statement once per row of parameters (`?`), in order. Returns how many rows each run changed. */
export type RunEach = (text: string, rows: readonly (readonly SqlValue[])[]) => Promise<number[]>;

/** The rows of a statement that is a text already: for those that run too often to be built each time. */
export async function select<Row>(
  queries: Queries,
  text: string,
  parameters: readonly SqlValue[] = [],
): Promise<Row[]> {
  return (await queries.executeQuery(CompiledQuery.raw(text, [...parameters]))).rows as Row[];
}

/** A blob as the driver gave it: better-sqlite3 has Buffers, libsql has ArrayBuffers. */
export function toBytes(value: Uint8Array | ArrayBuffer): Uint8Array {
  return value instanceof Uint8Array ? value : new Uint8Array(value);
}

/** How long a statement waits for another process's lock. It blocks this process too, so it is short. */
const lockTimeoutMs = 2_000;
const walRetryMs = 20;
/** How often it is looked whether the file is still the one that was opened. */
const sameFileMs = 100;
/** Another number than before: another process has written. */
const changesOfOthers = 'PRAGMA data_version';
/** Pages in the log before they are moved into the file: that takes milliseconds, and most pages are written often. */
const checkpointPages = 4_000;
const cachedStatements = 200;

export interface Database {
  readonly path: string;
  readonly driver: SqliteDriver;
  readonly read: Queries;
  /**
   * Runs `work` in one transaction that holds the write lock from its first statement, across processes too. Its turn
   * is one more than that of the transaction before it, and two more where another process has written in between.
   */
  write<Result>(work: (queries: Queries, runEach: RunEach, turn: number) => Promise<Result>): Promise<Result>;
  /** Writes, and changes nothing. Throws as `write` does, such as on a disk that is full. */
  probe(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens (and creates, and migrates) the one database file. better-sqlite3 13 needs Node >= 22.14 and crashes older
 * ones, so the driver is chosen before either is loaded.
 */
export async function openDatabase(path: string, driver: SqliteDriver = driverForThisNode()): Promise<Database> {
  const raw = guard(path, () => {
    // What was asked for and spent is nobody else's business.
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    if (!existsSync(path)) closeSync(openSync(path, 'a', 0o600));
    const open = createRequire(import.meta.url)(driver) as SqliteConstructor;
    return new open(path, { timeout: lockTimeoutMs });
  });
  try {
    await useWal(raw, path);
    guard(path, () => {
      raw.exec('PRAGMA synchronous = NORMAL');
      raw.exec(`PRAGMA wal_autocheckpoint = ${checkpointPages}`);
      migrate(raw, path);
    });
  } catch (error) {
    raw.close();
    throw error;
  }
  const inode = inodeOf(path);
  let lookAgainAt = 0;
  const statements = cacheStatements(raw, path);
  const read = new Kysely<Tables>({ dialect: new SqliteDialect({ database: statements }) });
  const run = (text: string) => statements.prepare(text).run([]);
  const runEach: RunEach = async (text, rows) => {
    const statement = statements.prepare(text);
    return rows.map((row) => Number(statement.run(row).changes));
  };
  let turn = 0;
  let ofOthers = 0;
  const takeTurn = () => {
    const { data_version: now } = statements.prepare(changesOfOthers).get([]) as { data_version: number };
    turn += now === ofOthers ? 1 : 2;
    ofOthers = now;
    return turn;
  };
  const write: Database['write'] = (work) =>
    read.connection().execute(async (connection) => {
      if (performance.now() > lookAgainAt) {
        requireSameFile(path, inode);
        lookAgainAt = performance.now() + sameFileMs;
      }
      run('BEGIN IMMEDIATE');
      try {
        const result = await work(connection, runEach, takeTurn());
        run('COMMIT');
        return result;
      } catch (error) {
        rollBack(run);
        throw error;
      }
    });
  return {
    path,
    driver,
    read,
    write,
    // Setting it to what it is writes a page all the same. It is read first: a newer Tandem may have raised it.
    probe: () => write(async () => void run(`PRAGMA user_version = ${schemaVersion(raw)}`)),
    async close() {
      // libsql leaves the log beside the file when it closes; the file alone should hold everything.
      await sql`PRAGMA wal_checkpoint(TRUNCATE)`.execute(read).catch(() => undefined);
      await read.destroy();
    },
  };
}

function rollBack(run: (text: string) => unknown): void {
  try {
    run('ROLLBACK');
  } catch {
    // Some failures (a full disk) have ended the transaction already.
  }
}

/** A file that was deleted or replaced still takes rows, and nobody would ever read them. */
function requireSameFile(path: string, inode: number | undefined): void {
  if (inodeOf(path) === inode) return;
  throw new AppError('database_unavailable', `The ledger ${path} was deleted or replaced while Tandem was running.`, {
    next: 'Put it back, or start Tandem again.',
  });
}

function inodeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.ino;
}

function driverForThisNode(): SqliteDriver {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  return major > 22 || (major === 22 && minor >= 14) ? 'better-sqlite3' : 'libsql';
}

interface RawStatement extends SqliteStatement {
  /** The first row. */
  get(parameters: readonly unknown[]): unknown;
}

/** What both drivers share; `reader` tells statements that return rows from those that do not. */
interface RawDatabase {
  prepare(text: string): RawStatement;
  exec(text: string): unknown;
  close(): void;
}
type SqliteConstructor = new (path: string, options: { timeout: number }) => RawDatabase;

/** SQLite does not wait for the lock that this takes on a fresh file: when several processes start at once, we do. */
async function useWal(raw: RawDatabase, path: string): Promise<void> {
  const giveUpAt = performance.now() + lockTimeoutMs;
  for (;;) {
    try {
      guard(path, () => raw.exec('PRAGMA journal_mode = WAL'));
      return;
    } catch (error) {
      const locked = error instanceof AppError && error.code === 'database_locked';
      if (!locked || performance.now() > giveUpAt) throw error;
      await delay(walRetryMs);
    }
  }
}

/** Numbered steps, each run once, in one transaction; the file's `user_version` says how far it got. */
function migrate(raw: RawDatabase, path: string): void {
  const newest = migrations.length;
  if (schemaVersion(raw) === newest) return;
  raw.exec('BEGIN IMMEDIATE');
  try {
    // Read again under the lock: another process may have migrated in the meantime.
    const version = schemaVersion(raw);
    if (version > newest) {
      throw new AppError(
        'database_newer',
        `${path} was written by a newer Tandem (schema ${version}, this one knows ${newest}).`,
        {
          next: 'Update Tandem, or set TANDEM_HOME to another folder.',
        },
      );
    }
    for (const step of migrations.slice(version)) raw.exec(step);
    raw.exec(`PRAGMA user_version = ${newest}`);
    raw.exec('COMMIT');
  } catch (error) {
    raw.exec('ROLLBACK');
    throw error;
  }
}

function schemaVersion(raw: RawDatabase): number {
  const [row] = raw.prepare('PRAGMA user_version').all([]) as { user_version: number }[];
  return row?.user_version ?? 0;
}

/**
 * Preparing costs more than running; the product's few dozen statements are kept. Errors become ours here, once.
 * libsql leaves a statement that met a lock in the middle of its work until it runs again, and no commit succeeds
 * until then: so every change goes through `write`, where only BEGIN can meet a lock, and BEGIN is kept here.
 */
function cacheStatements(raw: RawDatabase, path: string): Pick<RawDatabase, 'prepare' | 'close'> {
  const cache = new Map<string, RawStatement>();
  return {
    close: () => raw.close(),
    prepare(text) {
      const known = cache.get(text);
      if (known) return known;
      const statement = guard(path, () => raw.prepare(text));
      const guarded: RawStatement = {
        reader: statement.reader,
        all: (parameters) => guard(path, () => statement.all(parameters)),
        get: (parameters) => guard(path, () => statement.get(parameters)),
        run: (parameters) => guard(path, () => statement.run(parameters)),
        iterate: (parameters) => statement.iterate(parameters),
      };
      if (cache.size < cachedStatements) cache.set(text, guarded);
      return guarded;
    },
  };
}

function guard<Result>(path: string, work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    throw toDatabaseError(error, path);
  }
}

const databaseErrors: { pattern: RegExp; code: ErrorCode; what: string; next: string }[] = [
  {
    pattern: /SQLITE_BUSY|SQLITE_LOCKED|database is locked/,
    code: 'database_locked',
    what: 'is locked by another process',
    next: 'Try again in a moment; if it stays, look for another program that holds the file open.',
  },
  {
    pattern: /SQLITE_READONLY|EROFS|EACCES|EPERM|readonly database/,
    code: 'database_read_only',
    what: 'cannot be written',
    next: 'Make the file and its folder writable, or set TANDEM_HOME to a folder that is.',
  },
  {
    pattern: /SQLITE_CORRUPT|SQLITE_NOTADB|not a database|malformed/,
    code: 'database_corrupt',
    what: 'is not a usable database',
    next: 'Move it away (keep it: it holds the record of what was spent) and start again.',
  },
  {
    pattern: /SQLITE_CANTOPEN|[Uu]nable to open|ConnectionFailed|ENOTDIR|ENOENT|EEXIST|SQLITE_IOERR|SQLITE_FULL|ENOSPC/,
    code: 'database_unavailable',
    what: 'cannot be opened or written',
    next: 'Check that its folder exists, is writable and has space, or set TANDEM_HOME to another folder.',
  },
];

function toDatabaseError(error: unknown, path: string): unknown {
  if (error instanceof AppError || !(error instanceof Error)) return error;
  const text = `${'code' in error ? error.code : ''} ${error.message}`;
  const known = databaseErrors.find(({ pattern }) => pattern.test(text));
  if (!known) return error;
  return new AppError(known.code, `The ledger ${path} ${known.what}.`, { next: known.next, cause: error });
}
