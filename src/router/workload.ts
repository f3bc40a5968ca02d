import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import type { Prediction } from '../usage/observations.ts';
import { type PastRequest, reachQuality, scoreAtShare } from './goals.ts';
import type { QualityGoal, Snapshot, Suffices } from './types.ts';

/** How old the table may be: it is read in the background, and no request waits for it. */
const tableMaxAgeMs = 60_000;
/** Enough for a share to be known to two points, and worked out in some milliseconds. */
const requestsInTable = 500;

export interface WorkloadParts {
  /** The latest answered chats, newest first. */
  read(limit: number): Promise<readonly Prediction[]>;
  /** Predictions as they would be made now. */
  correct(predicted: Suffices): Suffices;
  /** The share of requests that `routing.serverlessShare` wants to be answered serverless. */
  serverlessShare: number | undefined;
  clock: Clock;
  log: Log;
}

/** The requests of late, and what they say about how to reach a quality or a share. Kept for a minute. */
export class Workload {
  readonly #parts: WorkloadParts;
  #past: readonly PastRequest[] = [];
  #dedicatedFromScore: number | undefined;
  #goals = new Map<number, QualityGoal>();
  #dueAtMs = 0;
  #reading: Promise<void> | undefined;

  constructor(parts: WorkloadParts) {
    this.#parts = parts;
  }

  /** What a decision needs of it. Only the first ever waits for the table. */
  goals(quality: number | undefined, snapshot: Snapshot): Snapshot | Promise<Snapshot> {
    if (quality === undefined && this.#parts.serverlessShare === undefined) return snapshot;
    const isFirst = this.#dueAtMs === 0;
    if (this.#parts.clock.nowMs() >= this.#dueAtMs) this.#reading ??= this.#read();
    return isFirst && this.#reading
      ? this.#reading.then(() => this.#with(quality, snapshot))
      : this.#with(quality, snapshot);
  }

  #with(quality: number | undefined, snapshot: Snapshot): Snapshot {
    return {
      ...snapshot,
      dedicatedFromScore: this.#dedicatedFromScore,
      quality: quality === undefined ? undefined : this.#goalFor(quality, snapshot),
    };
  }

  #goalFor(quality: number, snapshot: Snapshot): QualityGoal {
    const known = this.#goals.get(quality);
    if (known) return known;
    const goal = reachQuality(quality, this.#past, snapshot);
    this.#goals.set(quality, goal);
    return goal;
  }

  async #read(): Promise<void> {
    const { read, correct, serverlessShare, clock, log } = this.#parts;
    try {
      const rows = await read(requestsInTable);
      this.#past = rows.map(({ score, inputTokens, suffices }) => ({
        score,
        inputTokens,
        suffices: correct(suffices),
      }));
      this.#dedicatedFromScore =
        serverlessShare === undefined ? undefined : (scoreAtShare(serverlessShare, this.#past) ?? undefined);
      this.#goals = new Map();
    } catch (error) {
      log.warn({ error }, 'the requests of late could not be read; routing goes by those before');
    } finally {
      this.#dueAtMs = clock.nowMs() + tableMaxAgeMs;
      this.#reading = undefined;
    }
  }
}
