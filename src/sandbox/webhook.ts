import type { FastifyPluginAsync } from 'fastify';
import * as z from 'zod';
import type { Clock } from '../clock.ts';

export interface ReceivedNotice {
  /** In the sandbox's time. */
  atMs: number;
  /** As parsed; the text itself where it is not JSON. */
  body: unknown;
}

/** The other end of a webhook. */
export interface WebhookReceiver {
  plugin: FastifyPluginAsync;
  /** What was accepted, in order of arrival. */
  notices: ReceivedNotice[];
  /** So many requests are answered with 500, and not kept. */
  fail: number;
  /** Throws a ZodError on anything but `{fail: n}`. */
  applyFault(body: unknown): void;
}

const faultSchema = z.strictObject({ fail: z.int().min(0) });

export function createWebhookReceiver(clock: Clock): WebhookReceiver {
  const receiver: WebhookReceiver = {
    notices: [],
    fail: 0,
    applyFault(body) {
      receiver.fail = faultSchema.parse(body).fail;
    },
    async plugin(app) {
      app.removeAllContentTypeParsers();
      app.addContentTypeParser('*', { parseAs: 'string' }, async (_request: unknown, text: string) => readBody(text));
      app.post('/', async ({ body }, reply) => {
        reply.header('x-tandem-sandbox', 'true');
        if (receiver.fail > 0) {
          receiver.fail -= 1;
          return reply.code(500).send({ error: 'The receiver fails (sandbox)' });
        }
        receiver.notices.push({ atMs: clock.nowMs(), body });
        return { received: true };
      });
    },
  };
  return receiver;
}

function readBody(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
