import { cpus } from 'node:os';
import { median, spread } from './numbers.mjs';

/** True when the median of the rounds is where it must be. */
export function isReached({ rounds, atLeast = -Infinity, atMost = Infinity }) {
  const middle = median(rounds);
  return middle >= atLeast && middle <= atMost;
}

/** Markdown, ready for the README. */
export function renderTable(rows, { rounds }) {
  const lines = rows.map((row) => {
    const must = row.atLeast === undefined ? `<= ${row.atMost}${row.unit}` : `>= ${row.atLeast}${row.unit}`;
    const ratio = spread(row.rounds, row.digits, row.unit);
    return `| ${row.measure} | ${row.seen} | ${ratio} | ${must} | ${isReached(row) ? 'yes' : '**no**'} |`;
  });
  const processors = cpus();
  return [
    '| measure | seen | result (min - max) | must be | reached |',
    '|---|---|---|---|---|',
    ...lines,
    '',
    `One run on loopback, ${rounds} interleaved rounds, medians: ${processors[0].model.trim()}, ${processors.length} cores, Node ${process.versions.node}.`,
    'Load generator, subject and the same fake provider share the cores, so only the ratios mean something elsewhere.',
  ].join('\n');
}
