import { shadowPrincipalId } from '../principal.ts';
import { type Queries, select, toBytes } from './database.ts';

/** What the settled attempts that share a day, backend, kind, model and principal add up to. */
export interface Cell {
  day: string;
  backend: string;
  kind: 'serverless' | 'dedicated';
  model: string;
  principalId: string;
  /** First attempts: counting these counts requests. */
  requests: number;
  attempts: number;
  answered: number;
  failed: number;
  cancelled: number;
  /** Tokens were estimated. */
  estimated: number;
  unknownCost: number;
  /** Requests whose answers are not all of known cost. */
  unknownAnswers: number;
  /** Answers to requests that had one already (see `isSecond`). */
  seconds: number;
  inputTokens: number;
  outputTokens: number;
  costNanoUsd: number;
  /** How long the answers took, added up. */
  answeredMs: number;
  /** Of each answer, in no order. */
  latenciesMs: Float64Array;
}

/** A run of rows, added up. */
export interface Sums {
  cells: Cell[];
  /** Of each answer since its request began, in no order. Nobody waits for a comparison. */
  elapsedMs: Float64Array;
  open: number;
  firstStartedAtMs: number | null;
  lastStartedAtMs: number | null;
}

/** Both ends included. */
export interface SequenceRange {
  first: number;
  last: number;
}

interface SummedRow extends Omit<Cell, 'latenciesMs'> {
  open: number;
  latencies: string | null;
  elapsed: string | null;
  firstStartedAtMs: number;
  lastStartedAtMs: number;
}

/**
 * Whether the row came after an answer to the same request, which was checked and found wanting. A comparison comes
 * after one too, but in another name. Rows of one request are settled in order, and their ids say where they stand.
 */
const isSecond = afterAnswer('');
const isAfterUnknown = afterAnswer('AND earlier.cost_nano_usd IS NULL');

function afterAnswer(condition: string): string {
  return `(ordinal > 1 AND EXISTS (
    SELECT 1 FROM attempt AS earlier
    WHERE earlier.id = attempt.request_id || '.' || (attempt.ordinal - 1)
      AND earlier.status = 'ok' AND earlier.principal_id = attempt.principal_id ${condition}))`;
}

/** A text, for Kysely's builder says the same in three times the words. `+`: sequence finds the rows, time filters them. */
const sumRows = `
SELECT day, backend, kind, model, principal_id AS "principalId",
  count(CASE WHEN status = 'open' THEN 1 END) AS open,
  count(CASE WHEN ordinal = 1 AND status != 'open' THEN 1 END) AS requests,
  count(CASE WHEN status != 'open' THEN 1 END) AS attempts,
  count(CASE WHEN status = 'ok' THEN 1 END) AS answered,
  count(CASE WHEN status IN ('error', 'interrupted') THEN 1 END) AS failed,
  count(CASE WHEN status = 'cancelled' THEN 1 END) AS cancelled,
  count(CASE WHEN usage_source = 'estimate' AND status != 'open' THEN 1 END) AS estimated,
  count(CASE WHEN cost_nano_usd IS NULL AND status != 'open' THEN 1 END) AS "unknownCost",
  count(CASE WHEN cost_nano_usd IS NULL AND status = 'ok' AND NOT ${isAfterUnknown} THEN 1 END) AS "unknownAnswers",
  count(CASE WHEN status = 'ok' AND ${isSecond} THEN 1 END) AS seconds,
  coalesce(sum(CASE WHEN status != 'open' THEN input_tokens END), 0) AS "inputTokens",
  coalesce(sum(CASE WHEN status != 'open' THEN output_tokens END), 0) AS "outputTokens",
  coalesce(sum(CASE WHEN status != 'open' THEN cost_nano_usd END), 0) AS "costNanoUsd",
  coalesce(sum(CASE WHEN status = 'ok' THEN latency_ms END), 0) AS "answeredMs",
  group_concat(CASE WHEN status = 'ok' THEN latency_ms END) AS latencies,
  group_concat(CASE
    WHEN status = 'ok' AND principal_id != '${shadowPrincipalId}' THEN elapsed_ms
    WHEN status = 'error' AND ${isSecond} THEN elapsed_ms
  END) AS elapsed,
  min(started_at_ms) AS "firstStartedAtMs",
  max(started_at_ms) AS "lastStartedAtMs"
FROM attempt
WHERE sequence BETWEEN ? AND ? AND started_at_ms >= ? AND started_at_ms < ?
GROUP BY day, backend, kind, model, principal_id`;

/** Adds up the rows of a range that began within a span of time; calls under way are in none of the sums. */
export async function sumAttempts(
  queries: Queries,
  { first, last }: SequenceRange,
  { fromMs, toMs }: { fromMs: number; toMs: number },
): Promise<Sums> {
  const rows = await select<SummedRow>(queries, sumRows, [first, last, fromMs, toMs]);
  const ended = rows.filter(({ attempts }) => attempts > 0);
  const times = rows.flatMap((row) => [row.firstStartedAtMs, row.lastStartedAtMs]);
  return {
    cells: ended.map((row) => ({ ...row, latenciesMs: numbersIn(row.latencies) })),
    elapsedMs: numbersIn(rows.flatMap((row) => row.elapsed ?? []).join(',')),
    open: rows.reduce((sum, row) => sum + row.open, 0),
    firstStartedAtMs: times.length > 0 ? Math.min(...times) : null,
    lastStartedAtMs: times.length > 0 ? Math.max(...times) : null,
  };
}

function numbersIn(list: string | null): Float64Array {
  return list ? Float64Array.from(list.split(','), Number) : new Float64Array();
}

type PackedCell = [
  day: string,
  backend: string,
  kind: Cell['kind'],
  model: string,
  principalId: string,
  requests: number,
  attempts: number,
  answered: number,
  failed: number,
  cancelled: number,
  estimated: number,
  unknownCost: number,
  unknownAnswers: number,
  inputTokens: number,
  outputTokens: number,
  costNanoUsd: number,
  answeredMs: number,
  times: number,
  /** Not in chunks of older versions. */
  seconds?: number,
];

/** The cells without their times, and all times in one piece. */
export function packCells(cells: readonly Cell[]): { cells: string; latencies: Uint8Array } {
  const packed = cells.map(
    (cell): PackedCell => [
      cell.day,
      cell.backend,
      cell.kind,
      cell.model,
      cell.principalId,
      cell.requests,
      cell.attempts,
      cell.answered,
      cell.failed,
      cell.cancelled,
      cell.estimated,
      cell.unknownCost,
      cell.unknownAnswers,
      cell.inputTokens,
      cell.outputTokens,
      cell.costNanoUsd,
      cell.answeredMs,
      cell.latenciesMs.length,
      cell.seconds,
    ],
  );
  const latencies = new Float64Array(cells.reduce((sum, cell) => sum + cell.latenciesMs.length, 0));
  let written = 0;
  for (const { latenciesMs } of cells) {
    latencies.set(latenciesMs, written);
    written += latenciesMs.length;
  }
  return { cells: JSON.stringify(packed), latencies: bytesOf(latencies) };
}

export function unpackCells(text: string, bytes: Uint8Array | ArrayBuffer): Cell[] {
  const latencies = numbersOf(bytes);
  let read = 0;
  // By index: a report unpacks tens of thousands, and destructuring takes several times as long.
  return (JSON.parse(text) as PackedCell[]).map((packed) => {
    const first = read;
    read += packed[17];
    return {
      day: packed[0],
      backend: packed[1],
      kind: packed[2],
      model: packed[3],
      principalId: packed[4],
      requests: packed[5],
      attempts: packed[6],
      answered: packed[7],
      failed: packed[8],
      cancelled: packed[9],
      estimated: packed[10],
      unknownCost: packed[11],
      unknownAnswers: packed[12],
      inputTokens: packed[13],
      outputTokens: packed[14],
      costNanoUsd: packed[15],
      answeredMs: packed[16],
      seconds: packed[18] ?? 0,
      latenciesMs: latencies.subarray(first, read),
    };
  });
}

/** Every platform that Node and SQLite drivers are built for is little-endian. */
export function bytesOf(numbers: Float64Array): Uint8Array {
  return new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
}

export function numbersOf(blob: Uint8Array | ArrayBuffer): Float64Array {
  const bytes = toBytes(blob);
  const aligned = bytes.byteOffset % Float64Array.BYTES_PER_ELEMENT === 0 ? bytes : new Uint8Array(bytes);
  return new Float64Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / Float64Array.BYTES_PER_ELEMENT);
}
