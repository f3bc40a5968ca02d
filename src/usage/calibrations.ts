import { z } from 'zod';
import type { Clock } from '../clock.ts';
import { AppError } from '../errors.ts';
import type { Database } from './database.ts';
import type { CalibrationTable } from './tables.ts';

/** What is done to the log odds of a predicted chance: `slope * logOdds + offset`. */
export interface Correction {
  slope: number;
  offset: number;
}

/** How the predictions of a scorer are corrected, for small and for large models. */
export interface Calibration {
  small: Correction;
  large: Correction;
}

export interface CalibrationVersion {
  /** 0: as shipped. */
  version: number;
  /** Null: as shipped. */
  atMs: number | null;
  /** From what it was made, in words. */
  source: string;
  /** Which scorer it corrects; null: any. */
  scorer: string | null;
  calibration: Calibration;
}

/** The predictions as the scorer makes them. Known by its identity: nothing is computed where this is in use. */
export const asShipped: Calibration = { small: { slope: 1, offset: 0 }, large: { slope: 1, offset: 0 } };

export const shippedVersion: CalibrationVersion = {
  version: 0,
  atMs: null,
  source: 'as shipped',
  scorer: null,
  calibration: asShipped,
};

const correctionSchema = z.object({ slope: z.number().positive(), offset: z.number() });
const calibrationSchema = z.object({ small: correctionSchema, large: correctionSchema });

/** The versions of the calibration. Rows are added and never changed; the highest version is in use. */
export class Calibrations {
  readonly #database: Database;
  readonly #clock: Clock;

  constructor(database: Database, clock: Clock) {
    this.#database = database;
    this.#clock = clock;
  }

  /** The one in use. */
  async newest(): Promise<CalibrationVersion> {
    const row = await this.#database.read
      .selectFrom('calibration')
      .selectAll()
      .orderBy('version', 'desc')
      .limit(1)
      .executeTakeFirst();
    return row ? readVersion(row) : shippedVersion;
  }

  /** Writes a version and puts it into use. Returns its number. */
  add(made: { source: string; scorer: string; calibration: Calibration; figures: unknown }): Promise<number> {
    return this.#write(async ({ lastRatingId }) => ({
      source: made.source,
      scorer: made.scorer,
      correction: JSON.stringify(made.calibration),
      figures: JSON.stringify(made.figures),
      last_rating_id: lastRatingId,
    }));
  }

  /** Puts an earlier version into use again, as a new one; 0: as shipped. Throws `not_found`. Returns the new number. */
  goBackTo(version: number, scorer: string): Promise<number> {
    return this.#write(async ({ rows }) => {
      const earlier = rows.find((row) => row.version === version);
      if (!earlier && version !== 0) {
        const known = ['0 (as shipped)', ...rows.map((row) => row.version)].join(', ');
        throw new AppError('not_found', `There is no calibration ${version}. Nothing was changed.`, {
          next: `Valid: ${known}.`,
        });
      }
      return {
        source: `version ${version} again`,
        scorer: earlier?.scorer ?? scorer,
        correction: earlier?.correction ?? JSON.stringify(asShipped),
        figures: null,
        // Nothing was learned: the ratings since the last calibration are still waiting.
        last_rating_id: rows.at(-1)?.last_rating_id ?? 0,
      };
    });
  }

  #write(
    make: (now: {
      rows: CalibrationTable[];
      lastRatingId: number;
    }) => Promise<Omit<CalibrationTable, 'version' | 'at_ms'>>,
  ): Promise<number> {
    return this.#database.write(async (queries) => {
      const rows = await queries.selectFrom('calibration').selectAll().orderBy('version').execute();
      const { last } = await queries
        .selectFrom('rating')
        .select(({ fn, val }) => fn.coalesce(fn.max('id'), val(0)).as('last'))
        .executeTakeFirstOrThrow();
      const version = (rows.at(-1)?.version ?? 0) + 1;
      const row = { ...(await make({ rows, lastRatingId: last })), version, at_ms: this.#clock.nowMs() };
      await queries.insertInto('calibration').values(row).execute();
      return version;
    });
  }
}

/** Throws `database_corrupt` for a row that cannot be a calibration. */
function readVersion(row: CalibrationTable): CalibrationVersion {
  const parsed = calibrationSchema.safeParse(parseJson(row.correction));
  if (!parsed.success) {
    throw new AppError('database_corrupt', `Calibration ${row.version} in the ledger cannot be read.`, {
      next: '`tandem calibrate --use 0` goes back to the predictions as shipped.',
    });
  }
  return { version: row.version, atMs: row.at_ms, source: row.source, scorer: row.scorer, calibration: parsed.data };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
