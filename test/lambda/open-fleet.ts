import { expect, onTestFinished } from 'vitest';
import { AppError } from '../../src/errors.ts';
import { Fleet, type LaunchPlan } from '../../src/lambda/fleet.ts';
import type { LeaseRules } from '../../src/lambda/lease.ts';
import { LeaseKeeper } from '../../src/lambda/lease-keeper.ts';
import type { Tell } from '../../src/lambda/tell.ts';
import { createLog } from '../../src/log.ts';
import { usdToNano } from '../../src/money.ts';
import { Redactor } from '../../src/redactor.ts';
import { Budget } from '../../src/usage/budget.ts';
import { Calendar } from '../../src/usage/calendar.ts';
import { openDatabase } from '../../src/usage/database.ts';
import { InstanceLedger } from '../../src/usage/instances.ts';
import { temporaryFolder } from '../support/folder.ts';
import { type CloudOptions, openCloud } from './cloud.ts';

export const hourMs = 3_600_000;

export const plan: LaunchPlan = {
  instanceType: 'gpu_1x_a10',
  gpuDescription: 'A10 (24 GB PCIe)',
  region: 'us-east-1',
  priceCentsPerHour: 129,
  name: 'router-qwen',
  sshKeyName: 'laptop',
  imageFamily: 'lambda-stack-24-04',
  filesystemNames: [],
  userData: undefined,
  leaseMs: hourMs,
  capMs: 24 * hourMs,
  deploymentId: null,
};
const usualLeases: LeaseRules = { defaultMs: 4 * hourMs, capMs: 24 * hourMs, orphans: 'adopt' };
export const launchLine = 'POST /instance-operations/launch';
export const patientMs = 10_000;

export interface FleetOptions extends CloudOptions {
  dailyUsd?: number;
  leases?: LeaseRules;
}

/** A fleet in front of the sandbox's cloud, with a ledger of its own on disk. */
export async function openFleet({ dailyUsd = 50, leases = usualLeases, ...cloudOptions }: FleetOptions = {}) {
  const cloud = await openCloud(cloudOptions);
  const database = await openDatabase(`${temporaryFolder()}/tandem.db`);
  const { clock, client } = cloud;
  const budget = new Budget(
    { dailyNanoUsd: usdToNano(dailyUsd), monthlyNanoUsd: usdToNano(1_000) },
    new Calendar('Etc/UTC'),
    clock,
  );
  const instances = new InstanceLedger(database, budget, clock);
  const notices: { kind: string; key: string; text: string }[] = [];
  const log = createLog('silent', new Redactor());
  const tell: Tell = async (kind, key, text) => {
    if (!notices.some((notice) => notice.key === key)) notices.push({ kind, key, text });
  };
  const open = () => new Fleet({ client, instances, leases, clock, log, tell });
  const openKeeper = () => new LeaseKeeper({ client, instances, clock, log, tell });
  const fleet = open();
  const fleets = [fleet];
  onTestFinished(async () => {
    for (const each of fleets) await each.close();
    await database.close();
  });
  const lives = new AbortController().signal;
  return {
    ...cloud,
    database,
    fleet,
    budget,
    ledger: instances,
    notices,
    openKeeper,
    log,
    /** What the next start of the program would have: the same ledger, nothing in memory. */
    restart() {
      const next = open();
      fleets.push(next);
      return next;
    },
    launch: (changes: Partial<LaunchPlan> = {}, waitMs = patientMs, signal = lives) =>
      fleet.launch({ ...plan, ...changes }, waitMs, signal),
    list: () => fleet.list(lives),
    find: (name: string) => fleet.find([name], lives),
    rows: () => database.read.selectFrom('instance').selectAll().orderBy('requested_at_ms').execute(),
    leftUsd: async () => (await budget.state(database.read)).day.leftNanoUsd / 1e9,
    launchesSent: () => cloud.sent().filter((line) => line === launchLine).length,
  };
}

export async function failure(work: Promise<unknown>): Promise<AppError> {
  const error = await work.then(
    () => new Error('it did not fail'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(AppError);
  return error as AppError;
}
