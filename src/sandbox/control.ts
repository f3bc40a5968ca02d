import type { FastifyPluginAsync } from 'fastify';
import * as z from 'zod';
import type { Clock, MovableClock } from '../clock.ts';
import { type BehaviourName, behaviours } from './behaviours.ts';
import type { LambdaCloud } from './lambda/index.ts';
import type { Machines } from './machines.ts';
import type { Provider } from './provider.ts';
import type { WebhookReceiver } from './webhook.ts';

export interface ControlledWorld {
  clock: Clock | MovableClock;
  lambda: LambdaCloud;
  serverless: Provider;
  dedicated: Provider;
  machines: Machines;
  webhook: WebhookReceiver;
  /** Faults as they were at the start. */
  resetFaults(): void;
}

const behaviour = z.enum(Object.keys(behaviours) as [BehaviourName, ...BehaviourName[]]).nullable();
const overrideSchema = z.strictObject({ behaviour });
const clockSchema = z.strictObject({
  advanceMs: z
    .int()
    .min(1)
    .max(31 * 24 * 3_600_000),
});
const machineOverrideSchema = z.strictObject({ machine: z.string(), behaviour });

/** Faults over HTTP, for curl and the demo. An unknown one gets 400 and changes nothing. */
export function controlPlugin(world: ControlledWorld): FastifyPluginAsync {
  const { clock, lambda, serverless, dedicated, machines, webhook } = world;
  return async (app) => {
    // `curl -X POST` with a JSON header and no body is a plain order.
    app.addContentTypeParser('application/json', { parseAs: 'string' }, async (_request: unknown, text: string) =>
      text === '' ? {} : JSON.parse(text),
    );
    app.get('/', () => ({
      sandbox: true,
      nowMs: clock.nowMs(),
      behaviours: Object.keys(behaviours),
      serverless: serverless.override,
      dedicated: dedicated.override,
      machines: machines.list(),
      lambda: lambda.faults,
      bill: lambda.bill(),
      webhook: { fail: webhook.fail, notices: webhook.notices.length },
    }));
    app.get('/notices', () => ({ notices: webhook.notices }));
    app.post('/serverless', async ({ body }) => ({ behaviour: setOverride(serverless, body) }));
    app.post('/dedicated', async ({ body }) => ({ behaviour: setOverride(dedicated, body) }));
    app.post('/machines', async ({ body }) => setMachineOverride(machines, body));
    app.post('/lambda', async ({ body }) => lambda.applyFaults(body));
    app.post('/clock', async ({ body }) => {
      advance(clock, body);
      return { nowMs: clock.nowMs() };
    });
    app.post('/webhook', async ({ body }) => {
      webhook.applyFault(body);
      return { fail: webhook.fail };
    });
    app.post('/reset', () => {
      world.resetFaults();
      serverless.override = null;
      dedicated.override = null;
      machines.resetOverrides();
      webhook.fail = 0;
      return { reset: true };
    });
    app.setErrorHandler(async (error, _request, reply) => {
      const badInput = error instanceof z.ZodError;
      return reply.code(badInput ? 400 : 500).send({ error: badInput ? z.prettifyError(error) : String(error) });
    });
  };
}

function advance(clock: Clock | MovableClock, body: unknown): void {
  const { advanceMs } = clockSchema.parse(body);
  if (!('advance' in clock)) {
    const message = 'This clock cannot be moved.';
    throw new z.ZodError([{ code: 'custom', path: ['advanceMs'], message, input: advanceMs }]);
  }
  clock.advance(advanceMs);
}

function setOverride(provider: Provider, body: unknown): BehaviourName | null {
  provider.override = overrideSchema.parse(body).behaviour;
  return provider.override;
}

function setMachineOverride(machines: Machines, body: unknown): z.output<typeof machineOverrideSchema> {
  const order = machineOverrideSchema.parse(body);
  const provider = machines.find(order.machine);
  if (!provider) {
    const message = `No machine with a model server has the id or the name "${order.machine}".`;
    throw new z.ZodError([{ code: 'custom', path: ['machine'], message, input: order.machine }]);
  }
  provider.override = order.behaviour;
  return order;
}
