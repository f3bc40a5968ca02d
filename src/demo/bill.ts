import { formatUsd, usdToNano } from '../money.ts';
import { expect, type Result, type Stage } from './stage.ts';

/** Both count whole minutes; the moment of a request is read on two sides of a connection. */
const mayDifferMinutes = 1;

interface Line {
  name: string;
  id: string;
  minutes: number;
  usd: number;
}

/** Tandem's count and the sandbox's own bill, machine by machine. Throws when they are more than a minute apart. */
export async function compareBills({ read, say }: Stage, report: Result): Promise<void> {
  const { instances } = report.gpu as { instances: { name: string; id: string; minutes: number; cost_usd: number }[] };
  const { bill } = (await read('')) as { bill: { instances: { id: string; minutes: number; cents: number }[] } };
  const ours: Line[] = instances.map(({ cost_usd: usd, ...rest }) => ({ ...rest, usd }));
  const theirs = new Map(bill.instances.map(({ id, minutes, cents }) => [id, { minutes, usd: cents / 100 }]));
  expect(
    ours.length === theirs.size && ours.every(({ id }) => theirs.has(id)),
    `the same machines in the report (${ours.length}) and on the bill (${theirs.size})`,
  );
  const pairs = ours.map((line) => ({ ...line, billed: theirs.get(line.id) ?? { minutes: 0, usd: 0 } }));
  const sum = (of: (pair: (typeof pairs)[number]) => number) => pairs.reduce((total, pair) => total + of(pair), 0);
  const rows = pairs.map(({ name, minutes, usd, billed }) => row(name, minutes, usd, billed.minutes, billed.usd));
  say.answer(
    [
      `${''.padEnd(nameWidth)}${'Tandem'.padStart(columnWidth)}${'the bill'.padStart(columnWidth)}`,
      ...rows,
      row(
        'in all',
        sum((pair) => pair.minutes),
        sum((pair) => pair.usd),
        sum((pair) => pair.billed.minutes),
        sum((pair) => pair.billed.usd),
      ),
    ].join('\n'),
  );
  const apart = pairs.filter(({ minutes, billed }) => minutes !== billed.minutes);
  const worst = Math.max(0, ...apart.map(({ minutes, billed }) => Math.abs(minutes - billed.minutes)));
  expect(worst <= mayDifferMinutes, `bills at most ${mayDifferMinutes} minute apart, not ${worst}`);
  const differences = apart.map(({ name, minutes, billed }) => `${name} by ${Math.abs(minutes - billed.minutes)} min`);
  say.remark(
    apart.length === 0
      ? 'Equal to the minute and to the cent.'
      : `They differ: ${differences.join(', ')}. Whole minutes are counted, and the two clocks are read a moment apart.`,
  );
}

const nameWidth = 12;
const columnWidth = 20;

function row(name: string, minutes: number, usd: number, billedMinutes: number, billedUsd: number): string {
  const cell = (count: number, amount: number) =>
    `${count} min  ${formatUsd(usdToNano(amount)).padStart(7)}`.padStart(columnWidth);
  return `${name.padEnd(nameWidth)}${cell(minutes, usd)}${cell(billedMinutes, billedUsd)}`;
}
