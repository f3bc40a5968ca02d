import { createHmac, randomBytes } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';

const perMinute = 10;
const windowSeconds = 60;
/** The limiter keeps an entry and a timer per key, without a bound of its own: addresses share this many keys. */
const keys = 16_384;

/** Counts wrong secrets per address. In memory: whoever restarts the server may guess again. */
export class GuessLimiter {
  readonly #limiter = new RateLimiterMemory({ points: perMinute, duration: windowSeconds });
  /** Random, so that nobody can choose an address that shares a key with somebody else's. */
  readonly #salt = randomBytes(32);

  /** Counts a wrong one. Returns how long the address has to wait before the next, in milliseconds; null: not at all. */
  async count(ip: string): Promise<number | null> {
    return this.#limiter.consume(this.#keyOf(ip)).then(
      () => null,
      (rejected: unknown) => {
        if (rejected instanceof RateLimiterRes) return rejected.msBeforeNext;
        throw rejected;
      },
    );
  }

  #keyOf(ip: string): number {
    return createHmac('sha256', this.#salt).update(networkOf(ip)).digest().readUInt32BE(0) % keys;
  }
}

/** One household has 2^64 addresses of IPv6: the first half of one stands for all of them. */
export function networkOf(ip: string): string {
  const address = ip.toLowerCase().replace(/^::ffff:(?=\d+\.)/, '');
  if (!isIPv6(address)) return address;
  const [head = '', tail] = address.split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail ? tail.split(':') : [];
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - before.length - after.length);
  const groups = [...before, ...Array<string>(zeros).fill('0'), ...after];
  return `${groups
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ''))
    .join(':')}::/64`;
}
