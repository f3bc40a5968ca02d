import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import { type Calibration, type Calibrations, shippedVersion } from './calibrations.ts';

/** A running server takes up a new version after this time at the latest. */
const lookEveryMs = 30_000;

/** The calibration that a running server uses: looked up every 30 s, so that a decision reads a field and no more. */
export class CalibrationInUse {
  readonly #calibrations: Calibrations;
  readonly #scorer: string;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #closing = new AbortController();
  #current = shippedVersion;
  #warnedOf = -1;
  #watching: Promise<void> | undefined;

  constructor(calibrations: Calibrations, scorer: string, clock: Clock, log: Log) {
    this.#calibrations = calibrations;
    this.#scorer = scorer;
    this.#clock = clock;
    this.#log = log;
  }

  get calibration(): Calibration {
    return this.#current.calibration;
  }

  get version(): number {
    return this.#current.version;
  }

  /** Looks now. Never throws: what cannot be read changes nothing. */
  async refresh(): Promise<void> {
    try {
      const newest = await this.#calibrations.newest();
      if (newest.version === this.#current.version) return;
      const fits = newest.scorer === null || newest.scorer === this.#scorer;
      this.#current = fits ? newest : { ...shippedVersion, version: newest.version };
      if (fits) this.#log.info({ version: newest.version }, 'a calibration of the routing is in use');
      else
        this.#log.warn(
          { version: newest.version, of: newest.scorer, scorer: this.#scorer },
          'the calibration was made for another scorer and is not used; `tandem calibrate` makes a new one',
        );
    } catch (error) {
      this.#warn(error);
    }
  }

  /** Looks, and then again from time to time, until `close`. */
  async watch(): Promise<void> {
    await this.refresh();
    this.#watching ??= this.#keepLooking();
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#watching;
  }

  async #keepLooking(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      await this.#clock.sleep(lookEveryMs, signal).catch(() => undefined);
      if (!signal.aborted) await this.refresh();
    }
  }

  /** Once for each version that is in use meanwhile: the reason hardly changes. */
  #warn(error: unknown): void {
    if (this.#warnedOf === this.#current.version) return;
    this.#warnedOf = this.#current.version;
    this.#log.warn({ error }, 'the calibration could not be read; routing goes on with the one before');
  }
}
