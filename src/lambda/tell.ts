import type { Log } from '../log.ts';
import type { NoticeKind } from '../usage/notice-book.ts';

/** Tells people something, once per key; where it is written down is the caller's. */
export type Tell = (kind: NoticeKind, key: string, text: string) => Promise<unknown>;

/**
 * Does not ask again for what this process has told, and never fails: what cannot be told must not keep a machine
 * running. It is told on the next occasion.
 */
export function tellOnce(tell: Tell, log: Log): Tell {
  const told = new Set<string>();
  return async (kind, key, text) => {
    if (told.has(key)) return;
    try {
      await tell(kind, key, text);
      told.add(key);
    } catch (error) {
      log.warn({ error, notice: key }, 'a notice could not be written');
    }
  };
}
