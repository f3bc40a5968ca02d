import { formatUsd, usdToNano } from '../money.ts';

/** Plain-text rendering that reads well in a chat and in a terminal. */

const number = /^(?:[$–-]?[\d.,]*)(?: (?:%|s|ms|GB|GiB|min))?$/;

/** Columns padded to the widest cell; cells that look like numbers are right-aligned. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  const numeric = header.map((_, column) => rows.every((row) => number.test(row[column] ?? '')));
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => (numeric[column] ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0)))
      .join('  ')
      .trimEnd();
  return [line(header), widths.map((width) => '-'.repeat(width)).join('  '), ...rows.map(line)].join('\n');
}

const barWidth = 24;

/** A bar as long as its share of the largest value; never empty for a value above zero. */
export function bar(value: number, largest: number): string {
  if (value <= 0 || largest <= 0) return '';
  return '█'.repeat(Math.max(1, Math.round((value / largest) * barWidth)));
}

/** `45 s`, `12 min`, `3 h 05 min`, `2 d 4 h`. */
export function duration(ms: number | null): string {
  if (ms === null) return 'unknown';
  const seconds = Math.round(ms / 1000);
  if (seconds < 90) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48
    ? `${hours} h ${String(minutes % 60).padStart(2, '0')} min`
    : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** `0.84 s`, `840 ms`. */
export function milliseconds(ms: number | null): string {
  if (ms === null) return '–';
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}

export function percent(share: number | null): string {
  return share === null ? '–' : `${(share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
}

/** Dollars as tool results carry them. */
export function usd(amount: number | null): string {
  return formatUsd(amount === null ? null : usdToNano(amount));
}
