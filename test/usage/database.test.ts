import { describe, expect, it } from 'vitest';
import { type SqliteDriver, sqliteDrivers } from '../../src/usage/database.ts';
import { openBooks } from './books.ts';
import { describeDatabase } from './database.contract.ts';
import { describeFeedback } from './feedback.contract.ts';

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
const isModern = major > 22 || (major === 22 && minor >= 14);

/** better-sqlite3 13 does not fail on an older Node, it crashes it. */
const reasonToSkip: Record<SqliteDriver, string | null> = {
  'better-sqlite3': isModern ? null : `it needs Node 22.14, this is ${process.versions.node}`,
  libsql: null,
};

for (const driver of sqliteDrivers) {
  const reason = reasonToSkip[driver];
  if (reason) it.skip(`${driver}: ${reason}`);
  else
    describe(driver, () => {
      describeDatabase(driver);
      describeFeedback(driver);
    });
}

it('takes the fastest driver that this Node can load', async () => {
  const { database } = await openBooks();
  expect(database.driver).toBe(isModern ? 'better-sqlite3' : 'libsql');
});
