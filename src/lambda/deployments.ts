import type { Dispatcher } from 'undici';
import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import { type DeploymentBook, type DeploymentRow, specOf } from '../usage/deployments.ts';
import { type HuntBook, restOfWish } from '../usage/hunts.ts';
import type { InstanceRow } from '../usage/instance-cost.ts';
import type { InstanceLedger } from '../usage/instances.ts';
import type { EndReason } from '../usage/tables.ts';
import { minutes, tooLate } from './deployment-limits.ts';
import type { Fleet } from './fleet.ts';
import type { FleetInstance } from './fleet-instance.ts';
import { Looks } from './looks.ts';
import type { ServerBase } from './serving/ask.ts';
import { Connections } from './serving/connections.ts';
import { readLoad } from './serving/load.ts';
import { isHealthy, probe } from './serving/probe.ts';
import type { Connection, Reach } from './serving/reach.ts';
import { endStrays } from './strays.ts';
import type { Tell } from './tell.ts';

/** A server that was ready and is silent for so long no longer gets requests; it may come back. */
const silentMs = 10_000;
/** Before its lease ends, so that what it is answering can be finished. */
const drainMarginMs = 60_000;
/** For how long a machine is looked for when no window says. */
const replacementWithinMs = 4 * 60 * 60_000;

export interface DeploymentRules {
  maxReplacements: number;
  /** Null: by type. */
  bootMs: number | null;
  drainMs: number;
}

export interface DeploymentParts {
  book: DeploymentBook;
  hunts: HuntBook;
  instances: InstanceLedger;
  fleet: Fleet;
  reach: Reach;
  rules: DeploymentRules;
  tell: Tell;
  /** Of a machine reached over the network, or null where nobody else can reach it. */
  apiKeyOf(row: DeploymentRow): Promise<string | null>;
  /** Forgets the keys of a machine; null: of all machines of the deployment. */
  forget(row: DeploymentRow, intentId: string | null): Promise<void>;
  dispatcher: Dispatcher;
  clock: Clock;
  log: Log;
}

interface Sight {
  row: DeploymentRow;
  machine: InstanceRow | undefined;
  /** As the account's last list has it. */
  listed: FleetInstance | undefined;
  nowMs: number;
}

/**
 * The lives of deployments. Each pass looks at every row once and takes it one step further; all that a step needs is
 * in the rows, so whoever makes the next pass can go on.
 */
export class Deployments {
  readonly #parts: DeploymentParts;
  readonly #connections: Connections;
  readonly #looks = new Looks();

  constructor(parts: DeploymentParts) {
    this.#parts = parts;
    this.#connections = new Connections(parts.reach, parts.log);
  }

  /** One pass. `listed` is what the account's last list shows. */
  async step(listed: readonly FleetInstance[], signal: AbortSignal): Promise<void> {
    const { book, instances, clock, log } = this.#parts;
    // Of a machine that was there before, the row of its deployment is there now; and of these, their machines.
    const before = await instances.known();
    const rows = await book.live();
    const machines = rows.length > 0 ? await instances.known() : [];
    const work = rows.map(async (row) => {
      const machine = machines.find(({ intent_id: id }) => id === row.intent_id);
      const sight = { row, machine, listed: listed.find(({ intentId }) => intentId === row.intent_id) };
      try {
        await this.#take({ ...sight, nowMs: clock.nowMs() }, signal);
      } catch (error) {
        if (!signal.aborted)
          log.warn({ error, deployment: row.name, state: row.state }, 'a step of a deployment failed');
      }
    });
    await Promise.all([...work, endStrays(this.#parts, { machines: before, rows, listed }, signal)]);
    const intentIds = rows.flatMap(({ intent_id: id }) => id ?? []);
    this.#looks.keepOnly(intentIds);
    await this.#connections.keepOnly(intentIds);
  }

  async #take(sight: Sight, signal: AbortSignal): Promise<void> {
    switch (sight.row.state) {
      case 'waiting':
        return this.#wait(sight);
      case 'booting':
      case 'starting':
        return this.#start(sight, signal);
      case 'ready':
        return this.#serve(sight, signal);
      case 'draining':
        return this.#drain(sight, signal);
      case 'ending':
        return this.#end(sight, signal);
    }
  }

  /** For a machine: the hunt brings it. */
  async #wait({ row, nowMs }: Sight): Promise<void> {
    const { book, hunts } = this.#parts;
    const ordinal = row.machines + 1;
    const hunt = await hunts.of(row.id, ordinal);
    if (hunt?.state === 'gave_up' || hunt?.state === 'cancelled') {
      await book.move(row, 'ended', nowMs, { reason: hunt.state === 'gave_up' ? 'no_capacity' : 'asked' });
      return;
    }
    const endsAtMs = this.#drainsAtMs(row);
    // A hunt whose time is over says so itself.
    if (nowMs >= endsAtMs && (!hunt || (hunt.state === 'hunting' && nowMs < hunt.until_ms))) {
      await hunts.cancelFor(row.id, nowMs);
      await book.move(row, 'ended', nowMs, { reason: 'window' });
      return;
    }
    // The window was made longer meanwhile.
    if (hunt?.state === 'hunting' && row.until_ms !== null && hunt.until_ms < endsAtMs && nowMs < hunt.until_ms)
      await hunts.move(hunt, { until_ms: endsAtMs });
    if (hunt) return;
    const { types, regions, maxPriceCentsPerHour } = specOf(row);
    const wish = { ...restOfWish, types, regions, maxPriceCentsPerHour };
    const untilMs = row.until_ms === null ? nowMs + replacementWithinMs : endsAtMs;
    await hunts.open({ id: `${row.id}-${ordinal}`, deploymentId: row.id, ordinal, wish, untilMs, nowMs });
  }

  /** The machine boots, then the server starts. */
  async #start(sight: Sight, signal: AbortSignal): Promise<void> {
    const { row, machine, listed, nowMs } = sight;
    const { book, rules, log } = this.#parts;
    if (await this.#lost(sight)) return;
    const due = this.#dueReason(sight);
    if (due) return this.#leave(row, 'ending', due);
    if (!machine || machine.instance_id === null) return;
    if (listed?.status === 'unhealthy') return this.#replace(sight, 'it came up unhealthy', signal);
    if (listed?.status === 'active' && row.state === 'booting') {
      await book.move(row, 'starting', nowMs);
      return;
    }
    const isJudged = this.#looks.look(machine.intent_id, nowMs);
    const late = isJudged ? tooLate(row, machine, rules.bootMs, nowMs) : null;
    if (late) return this.#replace(sight, late, signal);
    const connection = listed?.ip ? this.#connect(row, machine, listed.ip) : null;
    if (!connection) return;
    const { alias } = specOf(row);
    const { stage, problem } = await probe({ ...(await this.#serverAt(connection, row)), alias }, signal);
    if (stage === 'ready') await this.#welcome(sight, connection.baseUrl);
    else log.debug({ deployment: row.name, stage, problem }, 'not ready yet');
  }

  async #welcome({ row, machine }: Sight, baseUrl: string): Promise<void> {
    const { book, clock, tell, log } = this.#parts;
    const nowMs = clock.nowMs();
    const changes = {
      base_url: baseUrl,
      ready_at_ms: row.ready_at_ms ?? nowMs,
      busy_at_ms: nowMs,
      failing_since_ms: null,
    };
    if (!(await book.move(row, 'ready', nowMs, changes))) return;
    const tookMs = nowMs - (machine?.requested_at_ms ?? row.created_at_ms);
    log.info({ deployment: row.name, tookMs }, 'a deployment is ready');
    const served = `${specOf(row).model} answers as "${row.name}" on ${machine?.instance_type}`;
    await tell('ready', `ready:${row.id}:${row.intent_id}`, `${served}, ${minutes(tookMs)} after its launch.`);
  }

  /** It is a backend: watched for silence, for idleness, and for its end. */
  async #serve(sight: Sight, signal: AbortSignal): Promise<void> {
    const { row, machine, listed, nowMs } = sight;
    const { book, tell } = this.#parts;
    if (await this.#lost(sight)) return;
    const due = this.#dueReason(sight);
    if (due === 'lease') await this.#sayExpired(sight);
    if (due) return this.#leave(row, 'draining', due);
    const spec = specOf(row);
    const ip = listed?.ip;
    const connection = machine && ip ? this.#connect(row, machine, ip) : this.#connections.get(row.intent_id);
    const base = connection && (await this.#serverAt(connection, row));
    if (!base || !(await isHealthy(base, signal))) {
      const sinceMs = row.failing_since_ms ?? nowMs;
      if (row.failing_since_ms === null) await book.note(row, { failing_since_ms: nowMs });
      if (nowMs - sinceMs >= silentMs) await book.move(row, 'starting', nowMs, { base_url: null });
      return;
    }
    const load = await readLoad(base, signal);
    const isBusy = !load || load.running + load.waiting > 0 || load.tokensServed !== row.tokens_served;
    const seen = {
      ...(row.base_url !== base.baseUrl && { base_url: base.baseUrl }),
      ...(row.failing_since_ms !== null && { failing_since_ms: null }),
      ...(isBusy && { busy_at_ms: nowMs, tokens_served: load?.tokensServed ?? row.tokens_served }),
    };
    if (Object.keys(seen).length > 0) await book.note(row, seen);
    const idleMs = nowMs - (row.busy_at_ms ?? nowMs);
    if (isBusy || spec.idleMs === null || idleMs < spec.idleMs) return;
    await this.#leave(row, 'draining', 'idle');
    await tell(
      'idle_stop',
      `idle_stop:${row.id}:${row.intent_id}`,
      `"${row.name}" had no work for ${minutes(idleMs)}; its machine is being returned.`,
    );
  }

  /** No new requests; what it is answering is finished, within limits. */
  async #drain(sight: Sight, signal: AbortSignal): Promise<void> {
    const { row, nowMs } = sight;
    const { rules } = this.#parts;
    const connection = this.#connections.get(row.intent_id);
    const load = connection && (await readLoad(await this.#serverAt(connection, row), signal));
    const isDone = load?.running === 0 && load.waiting === 0;
    if (isDone || nowMs - row.state_since_ms >= rules.drainMs) await this.#leave(row, 'ending', row.reason ?? 'asked');
  }

  /** Its machine is terminated, for sure. */
  async #end(sight: Sight, signal: AbortSignal): Promise<void> {
    const { row, machine, listed, nowMs } = sight;
    const { book, hunts, fleet } = this.#parts;
    await hunts.cancelFor(row.id, nowMs);
    if (!machine || machine.gone_at_ms !== null || machine.status === 'not_launched') {
      if (await book.move(row, 'ended', nowMs, { base_url: null })) await this.#parts.forget(row, null);
      return;
    }
    if (machine.terminate_requested_at_ms === null && listed?.id)
      await fleet.terminate([listed], signal, row.reason ?? 'asked');
  }

  /** Whether its machine is no longer there, or is being ended by somebody: then the row has been taken further. */
  async #lost({ row, machine, nowMs }: Sight): Promise<boolean> {
    const { book, forget, tell } = this.#parts;
    if (machine?.status === 'not_launched') {
      // It was refused, or never came about: that is no machine, and counts as none.
      const none = { intent_id: null, machines: row.machines - 1 };
      if (await book.move(row, 'waiting', nowMs, none)) await forget(row, row.intent_id);
      return true;
    }
    const isEnding = machine !== undefined && machine.terminate_requested_at_ms !== null;
    if (isEnding && machine.end_reason !== null && machine.end_reason !== 'bad_machine') {
      await this.#leave(row, 'ending', machine.end_reason);
      return true;
    }
    if (machine && machine.gone_at_ms === null) return isEnding && machine.end_reason === 'bad_machine';
    const key = `boot_failed:${row.id}:${row.intent_id}`;
    await tell('boot_failed', key, `The machine of "${row.name}" is gone.${this.#whatNext(row)}`);
    await this.#another(row, machine?.end_reason ?? 'gone', nowMs);
    return true;
  }

  /** A bad machine is returned, and another one looked for. */
  async #replace(sight: Sight, problem: string, signal: AbortSignal): Promise<void> {
    const { row, machine, listed } = sight;
    const { fleet, tell, log } = this.#parts;
    if (!machine || !listed) return;
    log.warn({ deployment: row.name, instance: machine.instance_id, problem }, 'a bad machine');
    const key = `boot_failed:${row.id}:${row.intent_id}`;
    await tell('boot_failed', key, `The machine of "${row.name}" is returned: ${problem}.${this.#whatNext(row)}`);
    // Two machines at once are never wanted: another one is looked for when this one is gone.
    await fleet.terminate([listed], signal, 'bad_machine');
  }

  async #another(row: DeploymentRow, reason: EndReason, nowMs: number): Promise<void> {
    const { book, forget, log } = this.#parts;
    const isLast = this.#isLast(row);
    const none = { base_url: null, ready_at_ms: null, failing_since_ms: null, busy_at_ms: null };
    const moved = isLast
      ? await book.move(row, 'ended', nowMs, { base_url: null, reason })
      : await book.move(row, 'waiting', nowMs, { ...none, intent_id: null });
    if (!moved) return;
    log.info(
      { deployment: row.name, machines: row.machines, isLast },
      isLast ? 'given up' : 'looking for another machine',
    );
    await forget(row, isLast ? null : row.intent_id);
  }

  #isLast(row: DeploymentRow): boolean {
    return row.machines > this.#parts.rules.maxReplacements;
  }

  #whatNext(row: DeploymentRow): string {
    return this.#isLast(row)
      ? ` It was the last of ${row.machines}: nothing replaces it.`
      : ' Another one is looked for.';
  }

  /** For the end of its window. */
  #drainsAtMs({ until_ms: untilMs }: DeploymentRow): number {
    return untilMs === null ? Number.POSITIVE_INFINITY : untilMs - this.#parts.rules.drainMs;
  }

  /** Why it should drain now, or null. */
  #dueReason({ row, machine, nowMs }: Sight): EndReason | null {
    const { drainMs } = this.#parts.rules;
    if (nowMs >= this.#drainsAtMs(row)) return 'window';
    const expiresAtMs = machine?.lease_expires_at_ms ?? null;
    return expiresAtMs !== null && nowMs >= expiresAtMs - drainMs - drainMarginMs ? 'lease' : null;
  }

  async #sayExpired({ row, machine }: Sight): Promise<void> {
    const key = `lease_expired:${machine?.intent_id}:${machine?.lease_expires_at_ms}`;
    await this.#parts.tell(
      'lease_expired',
      key,
      `The lease of "${row.name}" ends; it is drained, and its machine returned.`,
    );
  }

  async #leave(row: DeploymentRow, to: 'draining' | 'ending', reason: EndReason): Promise<void> {
    const { book, clock, log } = this.#parts;
    if (await book.move(row, to, clock.nowMs(), { reason, base_url: null }))
      log.info({ deployment: row.name, reason }, to === 'draining' ? 'a deployment drains' : 'a deployment ends');
  }

  #connect(row: DeploymentRow, machine: InstanceRow, ip: string) {
    if (machine.instance_id === null) return null;
    return this.#connections.open({
      deploymentId: row.id,
      intentId: machine.intent_id,
      instanceId: machine.instance_id,
      ip,
      endpoint: specOf(row).endpoint,
    });
  }

  async #serverAt({ baseUrl }: Connection, row: DeploymentRow): Promise<ServerBase> {
    const { apiKeyOf, dispatcher } = this.#parts;
    return { baseUrl, apiKey: await apiKeyOf(row), dispatcher };
  }

  /** Connections end with this process; whoever keeps the fleet next opens its own. */
  async close(): Promise<void> {
    const { book } = this.#parts;
    for (const row of await book.live().catch(() => []))
      if (row.state === 'ready' && this.#connections.isOurs(row.intent_id, row.base_url))
        await book.note(row, { base_url: null }).catch(() => undefined);
    await this.#connections.close();
  }
}
