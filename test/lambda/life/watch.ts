import type { InstanceTruth } from '../../../src/sandbox/lambda/index.ts';
import { type InstanceRow, instanceCost } from '../../../src/usage/instance-cost.ts';
import { isAdopted } from '../../../src/usage/leases.ts';
import { dailyUsd, maxReplacements } from './config.ts';
import type { Life } from './life.ts';

const minuteMs = 60_000;
const dayMs = 24 * 60 * minuteMs;

/**
 * For how long a machine may outlive its lease while the API answers and somebody keeps: a minute between two passes
 * that find nothing to do, half a minute until an ignored termination is asked for again, as long again for a list or
 * an answer that fails besides, and the turns of the pacer.
 */
const leaseGraceMs = 3 * minuteMs;
/** For how long a machine may be in no ledger, or a deployment may have two: an empty account is listed every ten minutes. */
const unnoticedGraceMs = 11 * minuteMs;
/**
 * A pass that launches for a hunt waits some seconds of real time for the answer, in which this clock leaps minutes: no
 * pass counts for more than the time between two.
 */
const longestPassMs = minuteMs;
/** For how long one that a person was told is ending may go on: what was ignored is noticed after three minutes. */
const promiseGraceMs = 6 * minuteMs;
/** Between two looks at the account while something changes: the list's ten seconds, a pass, and the pacer. */
const usualGapMs = 20_000;

/** Sees everything, the truth of the cloud as well as the ledger, and says what must not be. */
export class Watch {
  readonly #life: Life;
  /** Of machines, in time during which it could have been ended. */
  readonly #overdueMs = new Map<string, number>();
  readonly #brokenPromiseMs = new Map<string, number>();
  readonly #unnoticedMs = new Map<string, number>();
  readonly #surplusMs = new Map<string, number>();
  readonly #promised = new Set<string>();
  #lookedAtMs: number;
  #wrongMinutes = 0;
  #ledgers = 0;
  readonly problems = new Set<string>();

  constructor(life: Life) {
    this.#life = life;
    this.#lookedAtMs = life.clock.nowMs();
  }

  /** A person was told that it ends. */
  promised(instanceId: string): void {
    this.#promised.add(instanceId);
  }

  jumped(minutes: number): void {
    this.#wrongMinutes += Math.abs(minutes);
  }

  newLedger(): void {
    this.#ledgers += 1;
  }

  /** After a pass, or after a time without any. */
  look(isKept: boolean, rows: readonly InstanceRow[]): void {
    const life = this.#life;
    const nowMs = life.clock.nowMs();
    const { faults } = life.sandbox.lambda;
    const isUp = this.#lookedAtMs >= (faults.apiDownUntilMs ?? 0);
    const passedMs = isKept && isUp ? Math.min(longestPassMs, nowMs - this.#lookedAtMs) : 0;
    this.#lookedAtMs = nowMs;
    const living = life.living();
    for (const machine of living) {
      const isNoticed = rows.some(
        ({ instance_id: id, gone_at_ms: goneAtMs }) => id === machine.id && goneAtMs === null,
      );
      this.#add(this.#unnoticedMs, machine, !isNoticed, passedMs, unnoticedGraceMs, 'runs unnoticed');
      const deploymentId = tagOf(machine, 'tandem-deployment');
      const twins = living.filter((other) => tagOf(other, 'tandem-deployment') === deploymentId);
      const isSurplus = deploymentId !== undefined && twins.length > 1;
      this.#add(this.#surplusMs, machine, isSurplus, passedMs, unnoticedGraceMs, 'is one machine too many');
      const row = life.rows.get(machine.id);
      const endsAtMs = Math.min(capOf(machine), row?.lease_expires_at_ms ?? Number.POSITIVE_INFINITY);
      this.#add(this.#overdueMs, machine, life.nowMs() >= endsAtMs, passedMs, leaseGraceMs, 'outlives its lease');
      const isPromised = this.#promised.has(machine.id);
      this.#add(this.#brokenPromiseMs, machine, isPromised, passedMs, promiseGraceMs, 'runs on after its termination');
    }
    const all = life.machines();
    this.#atMost(1, all, (machine) => tagOf(machine, 'tandem-intent'), 'machines for the intent');
    const deployed = (machine: InstanceTruth) => tagOf(machine, 'tandem-deployment');
    this.#atMost(1 + maxReplacements, all, deployed, 'machines for the deployment');
    const plain = all.filter((machine) => deployed(machine) === undefined);
    this.#atMost(1, plain, ({ name }) => name ?? undefined, 'machines for the order');
  }

  /** What the ledger says against the bill, and the bill against the budget. */
  audit(rows: readonly InstanceRow[], isOver: boolean): void {
    const bill = new Map(this.#life.sandbox.lambda.bill().instances.map((line) => [line.id, line]));
    for (const row of rows) {
      const machine = this.#life.machines().find(({ id }) => id === row.instance_id);
      const line = bill.get(row.instance_id ?? '');
      if (!machine || !line) continue;
      const nowMs = this.#life.nowMs();
      const { minutes, upperNanoUsd } = instanceCost(row, 0, nowMs, nowMs);
      const slackCents = (this.#wrongMinutes * machine.priceCentsPerHour) / 60;
      if (upperNanoUsd / 1e7 < line.cents - slackCents - 1e-6)
        this.#say(
          `"${row.name}" was billed ${line.cents} cents, and the ledger's upper bound is ${upperNanoUsd / 1e7}`,
        );
      if (!isOver || isAdopted(row) || machine.activeAtMs === null) continue;
      const allowed = 1 + this.#wrongMinutes + this.#blindMinutes(machine);
      if (Math.abs(minutes - line.minutes) > allowed)
        this.#say(
          `"${row.name}" was billed ${line.minutes} minutes, and the ledger has ${minutes} (${allowed} allowed)`,
        );
    }
    this.#auditBudget();
  }

  /**
   * For how long nobody could see that the machine became active, or that it ended: between two answered looks at the
   * account. Nothing where looks came as usual.
   */
  #blindMinutes({ activeAtMs, terminateRequestedAtMs }: InstanceTruth): number {
    const looks = this.#life.sandbox.lambda.requestLog
      .filter(({ method, path, status }) => method === 'GET' && path === '/instances' && status === 200)
      .map(({ atMs }) => atMs);
    const gapsMs = [activeAtMs, terminateRequestedAtMs].map((atMs) => {
      if (atMs === null) return 0;
      const before = looks.findLast((lookMs) => lookMs < atMs) ?? atMs;
      // One of the same moment may have come before it.
      const after = looks.find((lookMs) => lookMs > atMs) ?? atMs;
      return after - before > usualGapMs ? after - before : 0;
    });
    return gapsMs.reduce((sum, gapMs) => sum + Math.ceil(gapMs / minuteMs), 0);
  }

  /** Minutes after the end of a lease are no matter of the budget; they are watched by themselves. */
  #auditBudget(): void {
    const days = new Map<number, number>();
    const nowMs = this.#life.clock.nowMs();
    let largestCents = 0;
    for (const machine of this.#life.machines()) {
      const row = this.#life.rows.get(machine.id);
      largestCents = Math.max(largestCents, (row?.reserved_nano_usd ?? 0) / 1e7);
      // What was found running is taken in whatever it costs.
      if (machine.activeAtMs === null || (row && isAdopted(row))) continue;
      const leaseEndMs = row?.lease_expires_at_ms ?? capOf(machine);
      const endMs = Math.min(nowMs, machine.terminatedAtMs ?? nowMs, leaseEndMs);
      for (let atMs = machine.activeAtMs; atMs < endMs; ) {
        const day = Math.floor(atMs / dayMs);
        const untilMs = Math.min(endMs, (day + 1) * dayMs);
        days.set(day, (days.get(day) ?? 0) + ((untilMs - atMs) / minuteMs / 60) * machine.priceCentsPerHour);
        atMs = untilMs;
      }
    }
    // A new ledger knows nothing of what the lost one spent; a wrong clock may have the wrong day.
    const budgets = this.#ledgers + (this.#wrongMinutes > 0 ? 1 : 0);
    const limitCents = budgets * dailyUsd * 100 + largestCents;
    for (const cents of days.values())
      if (cents > limitCents) this.#say(`${cents} cents were billed in a day; ${limitCents} are allowed`);
  }

  #add(
    sums: Map<string, number>,
    { id, name }: InstanceTruth,
    isSo: boolean,
    passedMs: number,
    graceMs: number,
    what: string,
  ): void {
    const sumMs = isSo ? (sums.get(id) ?? 0) + passedMs : 0;
    sums.set(id, sumMs);
    if (sumMs > graceMs) this.#say(`"${name}" (${id}) ${what}`);
  }

  #atMost(
    most: number,
    machines: readonly InstanceTruth[],
    keyOf: (machine: InstanceTruth) => string | undefined,
    what: string,
  ): void {
    const counts = new Map<string, number>();
    for (const key of machines.flatMap((machine) => keyOf(machine) ?? [])) counts.set(key, (counts.get(key) ?? 0) + 1);
    for (const [key, count] of counts) if (count > most) this.#say(`${count} ${what} ${key}`);
  }

  #say(problem: string): void {
    this.problems.add(problem);
  }
}

function tagOf({ tags }: InstanceTruth, wanted: string): string | undefined {
  return tags.find(({ key }) => key === wanted)?.value;
}

function capOf(machine: InstanceTruth): number {
  return Date.parse(tagOf(machine, 'tandem-lease-cap') ?? '') || Number.POSITIVE_INFINITY;
}
