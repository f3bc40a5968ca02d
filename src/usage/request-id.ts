import { randomFillSync } from 'node:crypto';
import { systemClock } from '../clock.ts';

const bytesPerId = 8;
const pool = Buffer.alloc(bytesPerId * 256);
let used = pool.length;
let lastMs = 0;
let count = 0;

/**
 * A UUID that grows with time (version 7, RFC 9562): rows that are written one after the other lie side by side in
 * the index. Within a millisecond of this process a counter keeps the order.
 */
export function newRequestId(): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const nowMs = Math.max(systemClock.nowMs(), lastMs);
  count = nowMs === lastMs ? count + 1 : 0;
  // 12 bits; a millisecond with more ids than that borrows from the next.
  lastMs = nowMs + (count > 0xfff ? 1 : 0);
  if (count > 0xfff) count = 0;
  const time = lastMs.toString(16).padStart(12, '0');
  const random = pool.toString('hex', used, used + bytesPerId);
  const variant = '89ab'[Number.parseInt(random.charAt(0), 16) % 4];
  used += bytesPerId;
  return `${time.slice(0, 8)}-${time.slice(8)}-7${count.toString(16).padStart(3, '0')}-${variant}${random.slice(1, 4)}-${random.slice(4)}`;
}
