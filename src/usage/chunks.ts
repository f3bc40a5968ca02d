import { setImmediate as nextTurn } from 'node:timers/promises';
import { bytesOf, type Cell, numbersOf, packCells, type SequenceRange, sumAttempts, unpackCells } from './cells.ts';
import { type Database, type Queries, type RunEach, select } from './database.ts';
import type { AttemptChunkTable } from './tables.ts';

/** Rows per chunk: sealing one takes some milliseconds, and a report reads as many rows one by one at each end. */
export const attemptsPerChunk = 2_048;

/** Chunks read at once: after each lot everything else has its turn. */
const chunksPerRead = 16;

/** The lowest sequence after which rows are in no chunk, and where the next chunk begins. */
const firstGap = `
SELECT gap.first, (SELECT min(first_sequence) FROM attempt_chunk WHERE first_sequence > gap.first) AS "nextChunk"
FROM (
  SELECT 1 AS first WHERE NOT EXISTS (SELECT 1 FROM attempt_chunk WHERE first_sequence = 1)
  UNION ALL
  SELECT last_sequence + 1 FROM attempt_chunk AS chunk
  WHERE NOT EXISTS (SELECT 1 FROM attempt_chunk AS next WHERE next.first_sequence = chunk.last_sequence + 1)
) AS gap ORDER BY gap.first LIMIT 1`;

const insertChunk = `
INSERT INTO attempt_chunk
  (first_sequence, last_sequence, first_started_at_ms, last_started_at_ms, cells, latencies, elapsed)
VALUES (?, ?, ?, ?, ?, ?, ?)`;

/** `open`: calls that are under way keep a chunk from being made. */
type Sealed = 'sealed' | 'nothing' | 'open';

/** Makes the next chunk, if there is one to make. Whoever settles attempts does this from time to time. */
export async function sealChunk(database: Database, chunkSize = attemptsPerChunk): Promise<Sealed> {
  // Most of the time there is nothing to do, and nobody should wait for a lock because of that.
  if ((await nextChunk(database.read, chunkSize)) === null) return 'nothing';
  return database.write(async (queries, runEach) => {
    const range = await nextChunk(queries, chunkSize);
    if (range === null) return 'nothing';
    const sums = await sumAttempts(queries, range, { fromMs: 0, toMs: Number.MAX_SAFE_INTEGER });
    if (sums.open > 0) return 'open';
    const { cells, latencies } = packCells(sums.cells);
    await runEach(insertChunk, [
      [range.first, range.last, sums.firstStartedAtMs, sums.lastStartedAtMs, cells, latencies, bytesOf(sums.elapsedMs)],
    ]);
    return 'sealed';
  });
}

/** The lowest rows that are in no chunk; null when they are too few for one. */
async function nextChunk(queries: Queries, chunkSize: number): Promise<SequenceRange | null> {
  const [gap] = await select<{ first: number; nextChunk: number | null }>(queries, firstGap);
  const [newest] = await select<{ last: number | null }>(queries, 'SELECT max(sequence) AS last FROM attempt');
  if (!gap || !newest) return null;
  const last = Math.min(gap.first + chunkSize, gap.nextChunk ?? Number.MAX_SAFE_INTEGER) - 1;
  return last > (newest.last ?? 0) ? null : { first: gap.first, last };
}

/** A sealed row has changed: its chunk is made again later, and until then its rows are read one by one. */
export async function dropChunkOf(runEach: RunEach, sequence: number): Promise<void> {
  await runEach('DELETE FROM attempt_chunk WHERE first_sequence <= ? AND last_sequence >= ?', [[sequence, sequence]]);
}

/** What the settled attempts that began within a span come to. */
export interface SpanSums {
  cells: Cell[];
  elapsedMs: Float64Array[];
}

/**
 * From chunks where they lie wholly within the span, row by row where not. Not one transaction, so that calls can be
 * written meanwhile; still no row is counted twice: what is read row by row is whatever no chunk that was read holds.
 */
export async function sumSpan(queries: Queries, span: { fromMs: number; toMs: number }): Promise<SpanSums> {
  const sums: SpanSums = { cells: [], elapsedMs: [] };
  const done: SequenceRange[] = [];
  const within: number[] = [];
  const chunks = await select<Omit<AttemptChunkTable, 'cells' | 'latencies' | 'elapsed'>>(
    queries,
    'SELECT first_sequence, last_sequence, first_started_at_ms, last_started_at_ms FROM attempt_chunk',
  );
  for (const chunk of chunks) {
    const [firstMs, lastMs] = [chunk.first_started_at_ms, chunk.last_started_at_ms];
    if (firstMs === null || lastMs === null || lastMs < span.fromMs || firstMs >= span.toMs)
      done.push({ first: chunk.first_sequence, last: chunk.last_sequence });
    else if (firstMs >= span.fromMs && lastMs < span.toMs) within.push(chunk.first_sequence);
  }
  for (let index = 0; index < within.length; index += chunksPerRead) {
    const lot = within.slice(index, index + chunksPerRead);
    const found = await queries.selectFrom('attempt_chunk').selectAll().where('first_sequence', 'in', lot).execute();
    for (const chunk of found) {
      for (const cell of unpackCells(chunk.cells, chunk.latencies)) sums.cells.push(cell);
      sums.elapsedMs.push(numbersOf(chunk.elapsed));
      done.push({ first: chunk.first_sequence, last: chunk.last_sequence });
    }
    await nextTurn();
  }
  for (const range of complementOf(done)) {
    const { cells, elapsedMs } = await sumAttempts(queries, range, span);
    for (const cell of cells) sums.cells.push(cell);
    sums.elapsedMs.push(elapsedMs);
  }
  return sums;
}

/** What lies before, between and after. */
function complementOf(ranges: SequenceRange[]): SequenceRange[] {
  const gaps: SequenceRange[] = [];
  let next = 1;
  for (const { first, last } of ranges.sort((one, other) => one.first - other.first)) {
    if (first > next) gaps.push({ first: next, last: first - 1 });
    next = last + 1;
  }
  return [...gaps, { first: next, last: Number.MAX_SAFE_INTEGER }];
}
