import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { createLog } from '../../src/log.ts';
import { usdToNano } from '../../src/money.ts';
import { Redactor } from '../../src/redactor.ts';
import { Budget } from '../../src/usage/budget.ts';
import { Calendar } from '../../src/usage/calendar.ts';
import { type Database, openDatabase, type SqliteDriver } from '../../src/usage/database.ts';
import { InstanceLedger } from '../../src/usage/instances.ts';
import { type AttemptOutcome, Ledger, type NewAttempt } from '../../src/usage/ledger.ts';
import { Reports } from '../../src/usage/report.ts';
import type { AttemptTable } from '../../src/usage/tables.ts';
import { ManualClock } from '../support/clock.ts';
import { temporaryFolder } from '../support/folder.ts';

export interface Books {
  path: string;
  clock: ManualClock;
  database: Database;
  budget: Budget;
  ledger: Ledger;
  instances: InstanceLedger;
  reports: Reports;
}

export interface BooksOptions {
  path?: string;
  dailyUsd?: number;
  monthlyUsd?: number;
  timeZone?: string;
  clock?: ManualClock;
  attemptsPerChunk?: number;
  driver?: SqliteDriver;
}

/** Everything that keeps accounts, on a database in a folder of its own. Closes with the test. */
export async function openBooks({
  path = join(temporaryFolder(), 'tandem.db'),
  dailyUsd = 10,
  monthlyUsd = 100,
  timeZone = 'UTC',
  clock = new ManualClock(),
  attemptsPerChunk,
  driver,
}: BooksOptions = {}): Promise<Books> {
  const database = await openDatabase(path, driver);
  onTestFinished(() => database.close());
  const calendar = new Calendar(timeZone);
  const limits = { dailyNanoUsd: usdToNano(dailyUsd), monthlyNanoUsd: usdToNano(monthlyUsd) };
  const budget = new Budget(limits, calendar, clock);
  return {
    path,
    clock,
    database,
    budget,
    ledger: new Ledger(database, budget, clock, createLog('silent', new Redactor()), {
      ...(attemptsPerChunk && { attemptsPerChunk }),
    }),
    instances: new InstanceLedger(database, budget, clock),
    reports: new Reports(database, budget, calendar, clock),
  };
}

let requests = 0;

export function attempt(about: Partial<NewAttempt> = {}): NewAttempt {
  requests += 1;
  return {
    requestId: `request-${requests}`,
    ordinal: 1,
    backend: 'groq',
    kind: 'serverless',
    model: 'small-8b',
    priority: 'balanced',
    score: 0.25,
    reserveNanoUsd: usdToNano(1),
    price: null,
    deadlineMs: 120_000,
    ...about,
  };
}

export function outcome(about: Partial<AttemptOutcome> = {}): AttemptOutcome {
  return {
    status: 'ok',
    usage: null,
    usageSource: null,
    costNanoUsd: usdToNano(0.25),
    costSource: 'config',
    firstTokenMs: 100,
    latencyMs: 400,
    elapsedMs: 500,
    ...about,
  };
}

export function attemptRow({ database }: Pick<Books, 'database'>, id: string): Promise<AttemptTable> {
  return database.read.selectFrom('attempt').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
}
