import { type Queries, select } from './database.ts';

const anyOpen = `
SELECT
  EXISTS (SELECT 1 FROM instance WHERE gone_at_ms IS NULL AND status != 'not_launched')
  OR EXISTS (SELECT 1 FROM deployment WHERE state != 'ended')
  OR EXISTS (SELECT 1 FROM hunt WHERE state IN ('hunting', 'launching')) AS open`;

/** Whether the ledger holds anything that somebody must keep: machines, deployments or hunts that have not ended. */
export async function hasOpenWork(queries: Queries): Promise<boolean> {
  const [row] = await select<{ open: number }>(queries, anyOpen);
  return row?.open === 1;
}
