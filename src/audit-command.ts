import { join } from 'node:path';
import { systemClock } from './clock.ts';
import { type Environment, loadConfig } from './config/index.ts';
import { table } from './tools/text.ts';
import { AuditTrail } from './usage/audit.ts';
import { openDatabase } from './usage/database.ts';

/** Prints the latest acts that cost or destroyed something: who, what, on whose yes, and what came of it. */
export async function printAudit(last: number, print: (line: string) => void, env?: Environment): Promise<void> {
  const database = await openDatabase(join(loadConfig(env).home, 'tandem.db'));
  try {
    const rows = await new AuditTrail(database, systemClock).last(last);
    if (rows.length === 0) return print('Nothing yet.');
    print(
      table(
        ['time (UTC)', 'who', 'id', 'what', 'on', 'confirmed by', 'outcome', 'result'],
        rows.map((row) => [
          new Date(row.at_ms).toISOString().slice(0, 19).replace('T', ' '),
          row.principal_name,
          row.principal_id,
          row.action,
          row.subject,
          row.confirmed_by,
          row.outcome,
          row.result ?? '',
        ]),
      ),
    );
  } finally {
    await database.close();
  }
}
