import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runReap } from '../../../src/reap-command.ts';
import { type Sandbox, startSandbox } from '../../../src/sandbox/index.ts';
import { type Database, openDatabase } from '../../../src/usage/database.ts';
import type { InstanceRow } from '../../../src/usage/instance-cost.ts';
import { inTurns } from '../../support/in-turns.ts';
import { LeapingClock } from '../../support/leaping-clock.ts';
import type { Action } from './actions.ts';
import { capHours, yaml } from './config.ts';
import { faultOf, isTrouble } from './faults.ts';
import { MortalClock, startTandem, type Tandem } from './tandem.ts';
import { Watch } from './watch.ts';

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;

/** Between passes while something changes, as often as the account is listed then; and while nothing does. */
const busyStepMs = 10_000;
/** While capacity is all that is waited for. */
const huntStepMs = 20_000;
const quietStepMs = 60_000;

/** A fleet, its cloud and the people around it, from the first day to the last. */
export class Life {
  readonly clock: LeapingClock;
  readonly sandbox: Sandbox;
  readonly watch: Watch;
  /** What the ledgers say of machines, by the cloud's id; a lost one is remembered. */
  readonly rows = new Map<string, InstanceRow>();
  database: Database;
  #home: string;
  readonly #scheduled: boolean;
  readonly #homes: string[] = [];
  readonly #all: Tandem[] = [];
  readonly #databases: Database[] = [];
  #keepers: Tandem[] = [];
  #trap: { what: 'launch' | 'terminate'; sentBefore: number; ms: number } | undefined;
  #wrongByMs = 0;
  #count = 0;

  private constructor(clock: LeapingClock, sandbox: Sandbox, scheduled: boolean) {
    this.clock = clock;
    this.sandbox = sandbox;
    this.#scheduled = scheduled;
    this.#home = '';
    this.database = undefined as unknown as Database;
    this.watch = new Watch(this);
  }

  static async begin(scheduled: boolean): Promise<Life> {
    const clock = new LeapingClock('2026-11-23T09:00:00Z');
    const sandbox = await startSandbox({ clock, firstTokenMs: 0, millisecondsPerPiece: 0 });
    const life = new Life(clock, sandbox, scheduled);
    await life.#moveIn();
    return life;
  }

  get keepers(): readonly Tandem[] {
    return this.#keepers;
  }

  /** As the clock of this computer has it. */
  nowMs(): number {
    return this.clock.nowMs() + this.#wrongByMs;
  }

  async act(action: Action): Promise<void> {
    const { lambda } = this.sandbox;
    switch (action.do) {
      case 'launch':
        return this.#launch({ instance_type: 'gpu_1x_a10', lease_hours: action.leaseHours });
      case 'serve':
        return this.#launch({ ...this.#served(), lease_hours: action.leaseHours });
      case 'hunt':
        return this.#launch({
          ...(action.serves ? this.#served() : { instance_type: 'gpu_1x_a10' }),
          wait_for_capacity: { until: new Date(this.nowMs() + action.hours * hourMs).toISOString() },
        });
      case 'renew': {
        const id = this.#pick(action.which)?.id;
        if (id) await this.#confirmed('renew_lease', { instance: id, hours: action.hours });
        return;
      }
      case 'terminate':
        return this.#terminate(action.which);
      case 'go':
        return this.go(action.minutes * minuteMs);
      case 'restart':
        return this.#restart();
      case 'killAt':
        return this.#killAt(action);
      case 'secondKeeper':
        if (!action.on) for (const keeper of this.#keepers.splice(1)) keeper.clock.kill();
        else if (this.#keepers.length === 1) await this.#start();
        return;
      case 'unattended':
        return this.#unattended(action.minutes * minuteMs);
      case 'loseState':
        return this.#loseState(action.minutes * minuteMs);
      case 'vanish':
      case 'endedByOther': {
        const machine = this.#pick(action.which);
        if (machine) lambda.applyFaults({ [action.do === 'vanish' ? 'vanish' : 'terminateByOther']: [machine.id] });
        return;
      }
      case 'downAfter': {
        const { what, minutes } = action;
        this.#trap = { what, sentBefore: this.#sent(what), ms: minutes * minuteMs };
        return;
      }
      case 'jump':
        this.#wrongByMs += action.minutes * minuteMs;
        this.watch.jumped(action.minutes);
        return;
      default:
        lambda.applyFaults(faultOf(action, lambda.faults, this.clock.nowMs()));
    }
  }

  /** Time goes on, and whoever keeps makes its passes. */
  async go(ms: number): Promise<void> {
    const endMs = this.clock.nowMs() + ms;
    for (let leftMs = ms; leftMs > 0; leftMs = endMs - this.clock.nowMs()) {
      const stepMs = Math.min(leftMs, await this.#stepMs());
      await this.clock.sleep(stepMs);
      await inTurns(this.#keepers, (keeper) => keeper.pass());
      await this.#look(true);
    }
  }

  /** The end: nothing is wrong any more, and time goes on until nothing is left. False: something still is. */
  async end(): Promise<boolean> {
    const { lambda } = this.sandbox;
    this.#trap = undefined;
    const faults = lambda.applyFaults({
      nextResponses: [],
      apiDownUntilMs: null,
      refuseLaunches: 0,
      soldOutUntilMs: {},
    });
    Object.assign(faults.terminate, { ignoreTimes: 0, omitFromAnswerTimes: 0 });
    faults.boot.outcome = 'active';
    Object.assign(faults, { cudaBroken: false });
    Object.assign(faults.serving, { dead: false, diesAfterMs: null });
    const latestMs = this.clock.nowMs() + (2 * capHours + 3) * hourMs;
    while (this.clock.nowMs() < latestMs) {
      if (await this.#isOver()) return true;
      await this.go(2 * minuteMs);
    }
    return this.#isOver();
  }

  async close(): Promise<void> {
    for (const tandem of this.#all) await tandem.close();
    for (const database of this.#databases) await database.close();
    await this.sandbox.close();
    for (const home of this.#homes) rmSync(home, { recursive: true, force: true });
  }

  machines() {
    return this.sandbox.lambda.instances().filter(({ tags }) => tags.some(({ value }) => value === 'tandem'));
  }

  living() {
    return this.machines().filter(({ terminateRequestedAtMs }) => terminateRequestedAtMs === null);
  }

  #served() {
    return { instance_type: 'gpu_1x_gh200', serve: { model: 'openai/gpt-oss-120b' } };
  }

  #pick(which: number) {
    const living = this.living();
    return living[which % Math.max(1, living.length)];
  }

  async #launch(input: Record<string, unknown>): Promise<void> {
    this.#count += 1;
    await this.#confirmed('launch_instance', { ...input, name: `n${this.#count}` });
  }

  async #terminate(which: number): Promise<void> {
    const machine = this.#pick(which);
    if (!machine) return;
    const answer = await this.#confirmed('terminate_instance', { instances: [machine.id] });
    const { status } = answer?.structuredContent ?? {};
    if (status === 'terminating' || status === 'terminated') this.watch.promised(machine.id);
  }

  /** A tool, with its confirmation. Undefined when nothing came of it, or the process died. */
  async #confirmed(tool: string, input: Record<string, unknown>) {
    const [keeper] = this.#keepers;
    if (!keeper) return undefined;
    return this.#meanwhileKeeping(async () => {
      const plan = await keeper.call(tool, input);
      const token = plan?.structuredContent?.confirm_token;
      return token === undefined ? undefined : keeper.call(tool, { ...input, confirm_token: token });
    });
  }

  /** A call may take long, and the keeper waits for none. */
  async #meanwhileKeeping<Result>(work: () => Promise<Result>): Promise<Result> {
    let isDone = false;
    const result = work().finally(() => {
      isDone = true;
    });
    const keeping = (async () => {
      while (!isDone) await this.go(busyStepMs);
    })();
    await Promise.all([result, keeping]);
    return result;
  }

  async #restart(): Promise<void> {
    for (const keeper of this.#keepers) keeper.clock.kill();
    this.#keepers = [];
    await this.#start();
  }

  async #killAt({ wait, during }: Extract<Action, { do: 'killAt' }>): Promise<void> {
    for (const keeper of this.#keepers) keeper.clock.killAt(wait);
    if (during === 'launch') await this.#launch({ instance_type: 'gpu_1x_a10', lease_hours: 0.5 });
    if (during === 'serve') await this.#launch({ ...this.#served(), lease_hours: 0.5 });
    if (during === 'terminate') await this.#terminate(wait);
    if (during === 'pass') await this.go(2 * minuteMs);
    await this.#restart();
  }

  /** The computer sleeps: its processes live, and do nothing. */
  async #unattended(ms: number): Promise<void> {
    for (const keeper of this.#keepers) keeper.clock.kill();
    this.#keepers = [];
    await this.clock.sleep(ms);
    await this.#look(false);
    await this.#start();
  }

  async #loseState(ms: number): Promise<void> {
    for (const keeper of this.#keepers) keeper.clock.kill();
    this.#keepers = [];
    await this.clock.sleep(ms);
    const clock = this.#newClock();
    const env = { ...this.sandbox.environment, TANDEM_HOME: this.#home, TANDEM_LOG_LEVEL: 'silent' };
    await runReap({ allManaged: false, dryRun: false }, () => undefined, env, clock).catch(() => undefined);
    await this.#look(false);
    await this.#moveIn();
  }

  async #moveIn(): Promise<void> {
    this.#home = mkdtempSync(join(tmpdir(), 'tandem-life-'));
    this.#homes.push(this.#home);
    writeFileSync(join(this.#home, 'tandem.yaml'), yaml(this.sandbox.url, this.#scheduled));
    this.database = await openDatabase(join(this.#home, 'tandem.db'));
    this.#databases.push(this.database);
    this.watch.newLedger();
    await this.#start();
  }

  async #look(isKept: boolean): Promise<void> {
    const rows = await this.readRows();
    for (const row of rows) if (row.instance_id) this.rows.set(row.instance_id, row);
    this.watch.look(isKept, rows);
  }

  readRows(): Promise<InstanceRow[]> {
    return this.database.read.selectFrom('instance').selectAll().execute();
  }

  #newClock(): MortalClock {
    return new MortalClock(
      this.clock,
      () => this.#wrongByMs,
      () => this.#spring(),
    );
  }

  /** Springs the trap that `downAfter` has set. */
  #spring(): void {
    const { lambda } = this.sandbox;
    if (!this.#trap || this.#sent(this.#trap.what) === this.#trap.sentBefore) return;
    lambda.applyFaults({ apiDownUntilMs: this.clock.nowMs() + this.#trap.ms });
    this.#trap = undefined;
  }

  #sent(what: 'launch' | 'terminate'): number {
    const path = `/instance-operations/${what}`;
    return this.sandbox.lambda.requestLog.filter((request) => request.path === path).length;
  }

  async #start(): Promise<void> {
    const clock = this.#newClock();
    const tandem = await startTandem(this.#home, join(this.#home, 'tandem.yaml'), this.sandbox, clock);
    this.#all.push(tandem);
    this.#keepers.push(tandem);
    await tandem.pass();
    await this.#look(true);
  }

  /** Until the next pass may come to something: a keeper's other passes are the same as none. */
  async #stepMs(): Promise<number> {
    const nowMs = this.clock.nowMs();
    const isMoving = this.machines().some(
      ({ status, isVisible }) => isVisible && (status === 'booting' || status === 'terminating'),
    );
    if (isMoving || isTrouble(this.sandbox.lambda.faults, nowMs)) return busyStepMs;
    const { read } = this.database;
    const hunts = await read.selectFrom('hunt').select('id').where('state', 'in', ['hunting', 'launching']).execute();
    const deployments = await read.selectFrom('deployment').select('state').where('state', '!=', 'ended').execute();
    if (deployments.some(({ state }) => state !== 'ready' && state !== 'waiting')) return busyStepMs;
    const rows = await read.selectFrom('instance').selectAll().where('gone_at_ms', 'is', null).execute();
    const live = rows.filter(({ status }) => status !== 'not_launched');
    const soonMs = this.nowMs() + quietStepMs + busyStepMs;
    if (live.some((row) => row.status !== 'active' || (row.lease_expires_at_ms ?? 0) <= soonMs)) return busyStepMs;
    return hunts.length > 0 || deployments.some(({ state }) => state === 'waiting') ? huntStepMs : quietStepMs;
  }

  async #isOver(): Promise<boolean> {
    const { read } = this.database;
    const open = [
      await read.selectFrom('hunt').select('id').where('state', 'in', ['hunting', 'launching']).execute(),
      await read.selectFrom('deployment').select('id').where('state', '!=', 'ended').execute(),
      await read
        .selectFrom('instance')
        .select('intent_id')
        .where('gone_at_ms', 'is', null)
        .where('status', '!=', 'not_launched')
        .execute(),
    ];
    return open.every((rows) => rows.length === 0) && this.machines().every(({ terminatedAtMs }) => terminatedAtMs);
  }
}
