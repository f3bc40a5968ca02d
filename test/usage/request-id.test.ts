import { expect, it } from 'vitest';
import { newRequestId } from '../../src/usage/request-id.ts';

it('gives UUIDs of version 7 that are in order, also within a millisecond, and never the same', () => {
  const ids = Array.from({ length: 20_000 }, newRequestId);
  for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(ids).toEqual([...ids].sort());
  expect(new Set(ids).size).toBe(ids.length);
  expect(new Set(ids.map((id) => id.slice(20))).size).toBe(ids.length);
});

it('begins with the time', () => {
  const ms = Number.parseInt(newRequestId().replace('-', '').slice(0, 12), 16);
  expect(Math.abs(ms - Date.now())).toBeLessThan(60_000);
});
