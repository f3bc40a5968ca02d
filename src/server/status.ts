import type { FastifyPluginAsync } from 'fastify';
import type { Backend, Health } from '../router/types.ts';
import type { Load } from './load.ts';

export interface StatusParts {
  load: Load;
  backends(): readonly Backend[];
  healthOf(backend: string): Health;
  /** Throws when the ledger cannot be written, for then nothing is sent to anybody. */
  checkLedger(): Promise<unknown>;
}

/** Anybody may ask, and a check costs a write. */
const checkServesMs = 2_000;

/** For whoever watches over the process, without a token: is it alive, and can it take requests. */
export function status(parts: StatusParts): FastifyPluginAsync {
  let check: { atMs: number; isGood: Promise<boolean> } | undefined;
  const isLedgerGood = (): Promise<boolean> => {
    const nowMs = performance.now();
    if (!check || nowMs - check.atMs >= checkServesMs) {
      const isGood = parts.checkLedger().then(
        () => true,
        () => false,
      );
      check = { atMs: nowMs, isGood };
    }
    return check.isGood;
  };
  return async (app) => {
    app.get('/healthz', async () => ({ status: 'ok' }));
    app.get('/readyz', async (_request, reply) => {
      const checks = {
        serving: !parts.load.isStopping,
        ledger: await isLedgerGood(),
        // Without any, MCP still lists and launches machines.
        backend:
          parts.backends().length === 0 ||
          parts.backends().some(({ id, unusable }) => unusable === null && parts.healthOf(id).usable),
      };
      const ready = Object.values(checks).every(Boolean);
      return reply.code(ready ? 200 : 503).send({ status: ready ? 'ok' : 'not_ready', checks });
    });
  };
}
