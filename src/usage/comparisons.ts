import { toThousandths } from './attempt-rows.ts';
import type { Database } from './database.ts';
import type { ComparisonTable } from './tables.ts';

export interface NewComparison extends Omit<ComparisonTable, 'id' | 'suffices_small' | 'suffices_large'> {
  /** Before any calibration. */
  predicted: { small: number; large: number };
}

/** Writes how an answer compares with a stronger model's. A request is compared once; a second row is left out. */
export async function recordComparison(database: Database, comparison: NewComparison): Promise<void> {
  const { predicted, ...row } = comparison;
  await database.write((queries) =>
    queries
      .insertInto('comparison')
      .values({
        ...row,
        suffices_small: toThousandths(predicted.small),
        suffices_large: toThousandths(predicted.large),
      })
      .onConflict((conflict) => conflict.column('request_id').doNothing())
      .execute(),
  );
}
